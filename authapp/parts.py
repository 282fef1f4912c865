"""The parts of one application's authapp, assembled from its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyramid.request import Request
from zope.interface import Interface

from authapp.backend import Backend
from authapp.backend.claims import KeySet, TokenReader
from authapp.backend.health import GuardedBackend, Health
from authapp.backend.http import HTTPBackend
from authapp.backend.transport import BoundedSession
from authapp.backend.waiting import Waiting
from authapp.carried import Carrier
from authapp.cookies import SessionCookie
from authapp.ini import SettingsError
from authapp.renewal import Renewal
from authapp.revocation import Revocation
from authapp.rotation import Rotation
from authapp.sealing import Sealer, derive
from authapp.settings import EMBEDDED, MEMORY, Settings
from authapp.shared import Shared
from authapp.shared.memory import MemoryShared
from authapp.throttle import Counters, Throttle

EMBEDDED_URL = "http://embedded.invalid"
"""Where ``embedded:`` is reached: a name that no resolver knows (RFC 6761 section 6.4)."""

_KEY_SET_PATH = "/.well-known/jwks.json"


class IBackend(Interface):
    """Marker under which an application's own backend is registered."""


class IParts(Interface):
    """Marker under which the :class:`Parts` are registered."""


@dataclass(frozen=True)
class Parts:
    """What the tween, the policy and the views work with."""

    settings: Settings
    cookie: SessionCookie
    sealer: Sealer
    carrier: Carrier
    shared: Shared
    revocation: Revocation
    rotation: Rotation
    http: BoundedSession
    backend: GuardedBackend
    reader: TokenReader
    renewal: Renewal
    throttle: Throttle
    excluded: Callable[[str], bool]
    """Whether the session is neither renewed nor written on a path."""
    for_programs: Callable[[str], bool]
    """Whether nobody navigates to a path (``authapp.api_prefixes``)."""

    @property
    def backend_url(self) -> str | None:
        """The base URL of the backend; None where the application brings its own."""
        return EMBEDDED_URL if self.settings.backend_url == EMBEDDED else self.settings.backend_url


def _below(*prefixes: str) -> Callable[[str], bool]:
    """Whether a path is one of these, or below one of them."""
    heads = tuple(f"{each}/" for each in prefixes)
    return lambda path: f"{path}/".startswith(heads)


def parts_of(request: Request) -> Parts:
    """The parts of the application that answers a request."""
    parts: Parts = request.registry.getUtility(IParts)
    return parts


def assemble(
    settings: Settings,
    backend: Backend | None,
    own_paths: tuple[str, ...],
    issuer: Callable[..., Any] | None,
) -> Parts:
    """Make the parts.

    :param backend: the application's own, or None for the one the settings name.
    :param own_paths: path prefixes of authapp's static files and health check.
    :param issuer: the embedded one, a WSGI application, where the settings name it.
    :raises SettingsError: where Redis is named, and cannot be had as the settings say.
    """
    sealer = Sealer(settings.secrets, settings.session_format, settings.cookie.name)
    shared, counters = _share(settings)
    revocation = Revocation(shared, settings.refresh_lifetime)
    rotation = Rotation(shared, settings.refresh_reuse)
    http = BoundedSession(settings.backend_timeout, settings.backend_ca)
    if issuer is not None:
        from authapp.backend.embedded import WSGIAdapter

        http.mount(EMBEDDED_URL, WSGIAdapter(issuer))
    url = EMBEDDED_URL if settings.backend_url == EMBEDDED else settings.backend_url
    health = Health(shared, Waiting(settings.backend_waiting))
    guarded = GuardedBackend(backend or HTTPBackend(http, url or "", settings.wire), health)
    keys = None
    if settings.verify is not None and settings.verify.jwks is not None:
        jwks = settings.verify.jwks
        url = EMBEDDED_URL + _KEY_SET_PATH if jwks == EMBEDDED else jwks
        keys = KeySet(http, url)
    reader = TokenReader(settings.claims, settings.verify, keys, settings.refresh_lifetime)
    return Parts(
        settings=settings,
        cookie=settings.cookie,
        sealer=sealer,
        carrier=Carrier(settings.cookie, sealer),
        shared=shared,
        revocation=revocation,
        rotation=rotation,
        http=http,
        backend=guarded,
        reader=reader,
        renewal=Renewal(
            guarded,
            reader,
            rotation,
            revocation,
            buffer=settings.refresh_buffer,
            patience=settings.backend_timeout,
        ),
        throttle=Throttle(
            settings.login_rate, derive(settings.secrets[0], "authapp throttle", 32), counters
        ),
        excluded=_below(*settings.refresh_exclude, *own_paths),
        for_programs=_below(*settings.api_prefixes),
    )


def _share(settings: Settings) -> tuple[Shared, Counters | None]:
    """The shared memory, and the counters of failed sign-ins in it."""
    if settings.shared == MEMORY:
        return MemoryShared(), None
    try:
        from authapp.shared.redis import RedisShared, connect
    except ImportError:
        problem = "authapp.shared: Redis needs an extra: pip install 'authapp[redis]'"
        raise SettingsError([problem]) from None
    try:
        server = connect(settings.shared)
    except ValueError:
        problem = "authapp.shared: redis://host:port/db is allowed, with options of redis-py"
        raise SettingsError([problem]) from None
    shared = RedisShared(server, settings.secrets)
    shared.get()  # to be met now: a Redis that is met empty later has forgotten something
    return shared, (server.counters(), server.asking)
