"""The objects of one application, made from its settings and wired once.

The tween, the policy and the views get them from here (:func:`services_of`). This module knows
every lower room and nothing of Pyramid's views.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyramid.request import Request
from zope.interface import Interface

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.circuit_breaker import CircuitBreaker
from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.key_set import KeySet
from authapp.backend.login_throttle import Counters, LoginThrottle
from authapp.backend.protocol import Backend
from authapp.backend.token_reader import TokenReader
from authapp.renewal.renewal import Renewal
from authapp.renewal.revocation import Revocation
from authapp.renewal.successors import Successors
from authapp.session.cookie_reader import CookieReader
from authapp.session.cookies import SessionCookie
from authapp.session.encryption import Sealer, derive
from authapp.settings.allowed_values import EMBEDDED, MEMORY
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Store

EMBEDDED_URL = "http://embedded.invalid"
"""Where ``embedded:`` is reached: a name that no resolver knows (RFC 6761 section 6.4)."""

_KEY_SET_PATH = "/.well-known/jwks.json"


class IBackend(Interface):
    """Marker under which an application's own backend is registered."""


class IServices(Interface):
    """Marker under which the :class:`Services` are registered."""


@dataclass(frozen=True)
class Services:
    """What the tween, the policy and the views work with."""

    settings: Settings
    cookie: SessionCookie
    sealer: Sealer
    cookie_reader: CookieReader
    store: Store
    revocation: Revocation
    successors: Successors
    http: BoundedSession
    backend: GuardedBackend
    reader: TokenReader
    renewal: Renewal
    throttle: LoginThrottle
    excluded: Callable[[str], bool]
    """Whether a path neither renews nor writes the session (``authapp.refresh.exclude``)."""
    for_programs: Callable[[str], bool]
    """Whether a path is for programs, not for people (``authapp.api_prefixes``)."""

    @property
    def backend_url(self) -> str | None:
        """The base URL of the backend; None if the application brings its own backend."""
        return EMBEDDED_URL if self.settings.backend_url == EMBEDDED else self.settings.backend_url


def services_of(request: Request) -> Services:
    """The services of the application that answers a request."""
    services: Services = request.registry.getUtility(IServices)
    return services


def wire(
    settings: Settings,
    backend: Backend | None,
    own_paths: tuple[str, ...],
    issuer: Callable[..., Any] | None,
) -> Services:
    """Make the services.

    :param backend: the application's own, or None for the one that the settings name.
    :param own_paths: path prefixes of authapp's static files and health check.
    :param issuer: the embedded issuer, a WSGI application, if the settings name it.
    :raises SettingsError: if the settings name Redis and it cannot be used in that way.
    """
    sealer = Sealer(settings.secrets, settings.session_format, settings.cookie.name)
    store, counters = _store(settings)
    revocation = Revocation(store, settings.refresh_lifetime)
    successors = Successors(store, settings.refresh_reuse)
    http = BoundedSession(settings.backend_timeout, settings.backend_ca)
    if issuer is not None:
        from authapp.backend.embedded import WSGIAdapter

        http.mount(EMBEDDED_URL, WSGIAdapter(issuer))
    url = EMBEDDED_URL if settings.backend_url == EMBEDDED else settings.backend_url
    breaker = CircuitBreaker(store, Bulkhead(settings.backend_bulkhead))
    guarded = GuardedBackend(backend or HTTPBackend(http, url or "", settings.wire), breaker)
    reader = TokenReader(
        settings.claims, settings.verify, _key_set(settings, http), settings.refresh_lifetime
    )
    return Services(
        settings=settings,
        cookie=settings.cookie,
        sealer=sealer,
        cookie_reader=CookieReader(settings.cookie, sealer),
        store=store,
        revocation=revocation,
        successors=successors,
        http=http,
        backend=guarded,
        reader=reader,
        renewal=Renewal(
            guarded,
            reader,
            successors,
            revocation,
            buffer=settings.refresh_buffer,
            patience=settings.backend_timeout,
        ),
        throttle=LoginThrottle(
            settings.login_rate, derive(settings.secrets[0], "authapp throttle", 32), counters
        ),
        excluded=_below(*settings.refresh_exclude, *own_paths),
        for_programs=_below(*settings.api_prefixes),
    )


def _below(*prefixes: str) -> Callable[[str], bool]:
    """Whether a path is one of these, or below one of them."""
    heads = tuple(f"{each}/" for each in prefixes)
    return lambda path: f"{path}/".startswith(heads)


def _key_set(settings: Settings, http: BoundedSession) -> KeySet | None:
    jwks = settings.verify and settings.verify.jwks
    if not jwks:
        return None
    return KeySet(http, EMBEDDED_URL + _KEY_SET_PATH if jwks == EMBEDDED else jwks)


def _store(settings: Settings) -> tuple[Store, Counters | None]:
    """The store, and the counters of failed sign-ins in it, if processes share it."""
    if settings.shared == MEMORY:
        return MemoryStore(), None
    try:
        from authapp.store.redis import RedisStore
        from authapp.store.redis_connection import connect
    except ImportError:
        problem = "authapp.shared: Redis needs an extra: pip install 'authapp[redis]'"
        raise SettingsError([problem]) from None
    try:
        connection = connect(settings.shared)
    except ValueError:
        problem = "authapp.shared: redis://host:port/db is allowed, with options of redis-py"
        raise SettingsError([problem]) from None
    store = RedisStore(connection, settings.secrets)
    store.get()  # sees the epoch marker now: if it is gone later, Redis has lost data
    return store, (connection.counters(), connection.command)
