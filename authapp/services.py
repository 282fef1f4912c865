"""Creates the objects of one application, such as its store and its backend, from its settings.

The tweens, the security policy and the views get these objects from :func:`services_of`. This
module imports the lower rooms, and does not import the room ``web``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pyramid.request import Request
from zope.interface import Interface

from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.key_set import KeySet
from authapp.backend.login_throttle import Counters, LoginThrottle
from authapp.backend.protocol import Backend
from authapp.backend.token_reader import TokenReader
from authapp.backend.unknown_issuer import UnknownIssuer
from authapp.renewal.revocation import Revocation
from authapp.renewal.session_index import SessionIndex
from authapp.renewal.single_flight import Renewal
from authapp.renewal.successors import Successors
from authapp.session.cookie_reader import CookieReader
from authapp.session.cookies import SessionCookie
from authapp.session.encryption import Sealer, derive, fingerprint
from authapp.settings.allowed_values import EMBEDDED, MEMORY
from authapp.settings.backend_settings import NO_PRESET, preset_name
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Store
from authapp.store.use_once import UseOnce
from authapp.version import __version__

EMBEDDED_URL = "http://embedded.invalid"
"""The base URL of the embedded issuer (``authapp.backend.url = embedded:``).

The HTTP client does not connect to this host: :func:`wire` mounts an adapter that calls the issuer
in this process. No other host can have this name (RFC 6761 section 6.4).
"""

KEY_SET_PATH = "/.well-known/jwks.json"
"""The path at which the embedded issuer publishes its public keys (its JWKS)."""


class IBackend(Interface):
    """The interface under which the Pyramid registry holds the application's own backend."""


class IServices(Interface):
    """The interface under which the Pyramid registry holds the :class:`Services`."""


@dataclass(frozen=True)
class Provider:
    """A service with a sign-in page of its own, such as an OpenID Connect provider.

    :param renewal: renews the sessions whose tokens the provider issued.
    :param label: the name of the provider on authapp's sign-in page.
    :param start: a function of a request and the path to which the user returns after the sign-in.
        It returns the path of authapp that redirects the browser to the provider.
    :param sign_out_url: a function of a request. It returns the URL at which the provider signs the
        user out, or None if the provider cannot or must not do this.
    :param check: a function that raises :class:`authapp.backend.protocol.BackendUnavailable` if
        users cannot sign in with the provider now.
    """

    renewal: Renewal
    label: str
    start: Callable[[Request, str], str]
    sign_out_url: Callable[[Request], str | None]
    check: Callable[[], object]


@dataclass(frozen=True)
class Services:
    """The objects of one application that the tweens, the security policy and the views use."""

    settings: Settings
    cookie: SessionCookie
    sealer: Sealer
    cookie_reader: CookieReader
    store: Store
    use_once: UseOnce
    revocation: Revocation
    index: SessionIndex
    successors: Successors
    http: BoundedSession
    backend: GuardedBackend
    reader: TokenReader
    renewal: Renewal
    unknown: Renewal
    """Ends each session whose tokens come from an issuer that is not configured (any more)."""
    throttle: LoginThrottle
    draft_secret: bytes
    """From this key, :mod:`authapp.web.session_json` derives a ``draft_key`` for each user."""
    excluded: Callable[[str], bool]
    """A function that returns True if the renewal tween skips a path.

    The tween skips authapp's static files, the health check, ``/session/ended``, the paths of
    ``authapp.refresh.exclude``, and all paths below them.
    """
    for_programs: Callable[[str], bool]
    """A function that returns True if only programs, and no browsers, open a path.

    These are the paths of ``authapp.api_prefixes``, and all paths below them.
    """
    providers: dict[str, Provider] = field(default_factory=dict)
    """Issuer -> provider. The room ``oidc`` adds its provider when the application starts."""

    def renewal_of(self, issuer: str | None) -> Renewal:
        """Return the object that renews the sessions with tokens of one issuer.

        :param issuer: the issuer of a provider, or None for the backend.
        :returns: the renewal. If no provider has this issuer: ``unknown``.
        """
        if issuer is None:
            return self.renewal
        provider = self.providers.get(issuer)
        return self.unknown if provider is None else provider.renewal

    def create_renewal(self, backend: GuardedBackend, reader: TokenReader) -> Renewal:
        """Create the object that renews the sessions with tokens of one issuer.

        :param backend: calls this issuer.
        :param reader: reads the tokens of this issuer.
        """
        return _renewal(self.settings, backend, reader, self.successors, self.revocation)

    @property
    def backend_url(self) -> str | None:
        """The base URL of the backend. None if ``authapp.backend.url`` is not set."""
        return EMBEDDED_URL if self.settings.backend_url == EMBEDDED else self.settings.backend_url


def summary(settings: Settings, backend: Backend | None) -> str:
    """Return a line for the log that describes an application when it starts.

    The line has the version, the backend, the provider if there is one, the store, the cookie's
    name, and a fingerprint of the first secret. It contains no secret.

    :param backend: the application's own backend object, or None.
    """
    first, *others = settings.secrets
    called = "none" if backend is None else type(backend).__qualname__
    if backend is None and settings.backend_url:
        preset = preset_name(settings.shown)
        how = "no preset" if preset == NO_PRESET else f"preset {preset}"
        called = f"{settings.backend_url} ({how})"
    provider = f", provider {settings.oidc.issuer}" if settings.oidc else ""
    store = urlsplit(settings.shared)  # a password is in front of the host, or in the query
    place = f"//{store.netloc.rpartition('@')[2]}{store.path}" if store.netloc else ""
    more = f" and {len(others)} that only decrypt" if others else ""
    parts = (
        f"authapp {__version__}",
        f"backend {called}{provider}",
        f"store {store.scheme}:{place}",
        f"cookie {settings.cookie.name} ({settings.session_format})",
        f"secret {fingerprint(first)}{more}",
    )
    return ", ".join(parts)


def services_of(request: Request) -> Services:
    """Return the services of the application that handles a request."""
    services: Services = request.registry.getUtility(IServices)
    return services


def wire(
    settings: Settings,
    backend: Backend | None,
    own_paths: tuple[str, ...],
    issuer: Callable[..., Any] | None,
) -> Services:
    """Create the services of an application.

    :param settings: the settings of the application.
    :param backend: the application's own backend object. With None, the services call the backend
        at ``authapp.backend.url``.
    :param own_paths: the paths of authapp that the renewal tween skips, such as the health check.
    :param issuer: the embedded issuer as a WSGI application, if ``authapp.backend.url`` is
        ``embedded:``. Otherwise None.
    :returns: the services.
    :raises SettingsError: if ``authapp.shared`` is a URL of Redis, and the URL is not valid or the
        extra ``redis`` is not installed.
    """
    sealer = Sealer(settings.secrets, settings.session_format, settings.cookie.name)
    store, counters = _create_store(settings)
    revocation = Revocation(store, settings.refresh_lifetime)
    successors = Successors(store, settings.refresh_reuse)
    http = BoundedSession(settings.backend_timeout, settings.backend_ca)
    if issuer is not None:
        from authapp.backend.embedded import WSGIAdapter

        http.mount(EMBEDDED_URL, WSGIAdapter(issuer))
    url = EMBEDDED_URL if settings.backend_url == EMBEDDED else settings.backend_url
    called = HTTPBackend(http, url, settings.description) if url else UnknownIssuer()
    guarded = GuardedBackend(backend or called, store, settings.backend_bulkhead)
    unknown = GuardedBackend(UnknownIssuer(), store, settings.backend_bulkhead, "unknown")
    reader = TokenReader(
        settings.claims,
        settings.verify,
        _key_set(settings, http),
        settings.refresh_lifetime,
        settings.access_lifetime,
        settings.session_limits,
    )
    return Services(
        settings=settings,
        cookie=settings.cookie,
        sealer=sealer,
        cookie_reader=CookieReader(settings.cookie, sealer, settings.session_limits),
        store=store,
        use_once=UseOnce(store),
        revocation=revocation,
        index=SessionIndex(store, revocation, settings.session_limits),
        successors=successors,
        http=http,
        backend=guarded,
        reader=reader,
        renewal=_renewal(settings, guarded, reader, successors, revocation),
        unknown=_renewal(settings, unknown, reader, successors, revocation),
        throttle=LoginThrottle(
            settings.login_rate, derive(settings.secrets[0], "authapp throttle", 32), counters
        ),
        draft_secret=derive(settings.secrets[0], "authapp draft", 32),
        excluded=_path_matcher(*settings.refresh_exclude, *own_paths),
        for_programs=_path_matcher(*settings.api_prefixes),
    )


def _renewal(
    settings: Settings,
    backend: GuardedBackend,
    reader: TokenReader,
    successors: Successors,
    revocation: Revocation,
) -> Renewal:
    return Renewal(
        backend,
        reader,
        successors,
        revocation,
        buffer=settings.refresh_buffer,
        patience=settings.backend_timeout,
    )


def _path_matcher(*prefixes: str) -> Callable[[str], bool]:
    """Return a function that returns True if a path is one of the prefixes or below one of them."""
    with_slash = tuple(f"{each}/" for each in prefixes)
    return lambda path: f"{path}/".startswith(with_slash)


def _key_set(settings: Settings, http: BoundedSession) -> KeySet | None:
    """Return the key set that verifies access tokens, or None if no key set is configured."""
    jwks = settings.verify and settings.verify.jwks
    if not jwks:
        return None
    return KeySet(http, EMBEDDED_URL + KEY_SET_PATH if jwks == EMBEDDED else jwks)


def _create_store(settings: Settings) -> tuple[Store, Counters | None]:
    """Create the store, and the counters of failed sign-ins.

    :returns: the store and the counters. All processes share the counters in Redis. With the store
        in memory, the counters are None, and each process counts for itself.
    :raises SettingsError: see :func:`wire`.
    """
    if settings.shared == MEMORY:
        return MemoryStore(), None
    try:
        from authapp.store.redis import RedisStore
        from authapp.store.redis_connection import connect
    except ImportError:
        problem = "authapp.shared: Redis support is not installed: pip install 'authapp[redis]'"
        raise SettingsError([problem]) from None
    try:
        connection = connect(settings.shared)
    except ValueError:
        problem = (
            "authapp.shared: redis://host:port/db, redis+sentinel://host:port,host2:port/name/db"
            " and redis+cluster://host:port,host2:port are allowed, with options in the query"
        )
        raise SettingsError([problem]) from None
    store = RedisStore(connection, settings.secrets, settings.shared_patience)
    # This call logs what is wrong with the set-up of Redis. It also reads the epoch marker. If the
    # marker is missing later, the process knows that Redis has lost data.
    store.problems()
    return store, (connection.counters(), connection.command)
