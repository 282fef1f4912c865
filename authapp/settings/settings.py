"""All settings of an application as one frozen value, read from its ini file.

Each setting has one line here: its key, the reader of its text, and the default. The readers are in
:mod:`authapp.settings.allowed_values`. docs/settings.md describes all settings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import limits
from pyramid.registry import Registry
from zope.interface import Interface

from authapp.backend.description import Description
from authapp.backend.identity_reader import ClaimExpressions
from authapp.backend.token_reader import Verify
from authapp.session.cookies import SessionCookie
from authapp.session.encryption import FORMATS
from authapp.session.session import MAX_LIFETIME
from authapp.session.session_limits import REMEMBER, SessionLimits
from authapp.settings import allowed_values as values
from authapp.settings.allowed_values import EMBEDDED, MAKE_ONE, MEMORY, SECRET_LENGTH
from authapp.settings.backend_settings import (
    read_claims,
    read_description,
    report_missing,
    with_preset,
)
from authapp.settings.edge_settings import EdgeSettings, read_edge
from authapp.settings.ini import Ini
from authapp.settings.oidc_settings import PASSWORD, OIDCSettings, read_methods, read_oidc
from authapp.settings.route_settings import read_paths
from authapp.store.protocol import PATIENCE

PREFIX = "authapp."
"""The beginning of each of authapp's keys in an ini file."""

_NO_SECRET = f"authapp.secret is missing: it needs at least {SECRET_LENGTH} bytes; {MAKE_ONE}"
BACKEND_URL_MISSING = (
    f"authapp.backend.url is missing: set it to the base URL of the backend, or to {EMBEDDED} in"
    " development"
)
"""The problem to report if an application has neither a URL of the backend nor its own backend."""


class ISettings(Interface):
    """The interface under which the Pyramid registry holds the :class:`Settings`."""


@dataclass(frozen=True)
class Settings:
    """All settings of an application. Durations are in seconds."""

    secrets: tuple[bytes, ...] = field(repr=False)
    development: bool
    development_hosts: tuple[str, ...]
    cookie: SessionCookie
    session_format: str
    session_limits: SessionLimits
    backend_url: str | None
    description: Description
    backend_ca: str | None
    backend_timeout: float
    backend_bulkhead: int
    verify: Verify | None
    claims: ClaimExpressions
    access_lifetime: int | None
    refresh_buffer: int
    refresh_reuse: int
    refresh_lifetime: int
    shared: str = field(repr=False)
    shared_patience: float
    login_rate: limits.RateLimitItem
    show_reason: bool
    login_methods: tuple[str, ...]
    """The ways to sign in that the sign-in page offers: ``password``, ``oidc`` or both."""
    oidc: OIDCSettings | None
    login_links: tuple[tuple[str, str], ...]
    site_name: str | None
    paths: Mapping[str, str | None]
    """Name of a route -> its path, or None if the application does not want this route."""
    api_prefixes: tuple[str, ...]
    refresh_exclude: tuple[str, ...]
    cors_origins: tuple[str, ...]
    cors_headers: tuple[str, ...]
    host_session: str
    headers: str
    edge: EdgeSettings
    shown: Mapping[str, str] = field(repr=False)
    """Key of each setting in the ini file or the preset -> its text, for Pyramid's introspection.

    The text of a secret is ``***``.
    """

    @classmethod
    def from_ini(cls, ini: Mapping[str, Any]) -> "Settings":
        """Read the ``authapp.`` keys of an ini file.

        :param ini: Pyramid's ``registry.settings``. Other keys are ignored.
        :returns: the settings. ``backend_url`` may be None, because the application may have a
            backend object of its own.
        :raises SettingsError: if there are problems. The error has one line for each problem.
        """
        reader = Ini(with_preset(ini), PREFIX)
        settings = cls._read(reader)
        reader.needs("cors.headers", "cors.origins")
        if reader.has("backend.url") and PASSWORD in settings.login_methods:
            report_missing(reader, settings.description)
        known = reader.has("backend.url") or reader.has("oidc.issuer")
        reader.finish([] if known else [BACKEND_URL_MISSING])
        return settings

    @classmethod
    def _read(cls, reader: Ini) -> "Settings":
        take = reader.take

        development = take("development", values.boolean, False)
        no_secrets: tuple[bytes, ...] = ()
        secrets = take(
            "secret", values.secrets(development), no_secrets, secret=True, missing=_NO_SECRET
        )
        no_names: tuple[str, ...] = ()
        hosts = take("development.hosts", values.hosts, no_names)
        reader.needs("development.hosts", "development")
        domain = take("session.domain", values.domain, None)
        samesite = take("session.samesite", values.samesite(development), "Lax")
        name = take(
            "session.cookie",
            values.cookie_name(development, domain),
            SessionCookie.default_name(secure=not development, domain=domain),
        )
        timeout = take("backend.timeout", values.decimal(0.05, 60), 5.0)
        least_reuse = math.ceil(2 * timeout + 5)
        reuse = take("refresh.reuse", values.whole(0, 3_600), max(60, least_reuse))
        if reuse < least_reuse:
            reader.problem(
                f"authapp.refresh.reuse = {reuse}: must be at least {least_reuse}, which is twice"
                " authapp.backend.timeout and 5 seconds"
            )
        private = take("backend.private_network", values.boolean, False)
        url = take("backend.url", values.backend_url(development, private), None)
        verify = take("backend.verify", values.verify(development, private), None, secret=True)
        issuer = take("backend.issuer", values.plain, None)
        audience = take("backend.audience", values.plain, None)
        leeway = take("backend.leeway", values.whole(0, 600), Verify.leeway)
        for key in ("issuer", "audience", "leeway"):
            reader.needs(f"backend.{key}", "backend.verify")
        if verify and verify.jwks == EMBEDDED and url != EMBEDDED:
            reader.problem(
                f"authapp.backend.verify: jwks:{EMBEDDED} works only with"
                f" authapp.backend.url = {EMBEDDED}"
            )
        if verify and verify.secret and url == EMBEDDED:
            reader.problem(
                f"authapp.backend.verify: secret:… cannot verify tokens of {EMBEDDED}, which signs"
                f" them with a key of its own; use jwks:{EMBEDDED}"
            )
        return cls(
            secrets=secrets,
            development=development,
            development_hosts=hosts,
            cookie=SessionCookie(name, not development, domain, samesite),
            session_format=take("session.format", values.one_of(FORMATS), "next-auth-4"),
            session_limits=SessionLimits(
                take("session.idle", values.whole(1, MAX_LIFETIME), None),
                take("session.absolute", values.whole(1, MAX_LIFETIME), None),
                take("session.remember", values.one_of(REMEMBER), "yes"),
            ),
            backend_url=url,
            description=read_description(reader),
            backend_ca=take("backend.ca", values.authorities, None),
            backend_timeout=timeout,
            backend_bulkhead=take("backend.bulkhead", values.count, 3),
            verify=verify and replace(verify, issuer=issuer, audience=audience, leeway=leeway),
            claims=read_claims(reader),
            access_lifetime=take("backend.access_lifetime", values.whole(1, MAX_LIFETIME), None),
            refresh_buffer=take("refresh.buffer", values.whole(0, 86_400), 300),
            refresh_reuse=reuse,
            refresh_lifetime=take("refresh.lifetime", values.whole(1, MAX_LIFETIME), 604_800),
            shared=take("shared", values.store_url, MEMORY, secret=True),
            shared_patience=take("shared.patience", values.decimal(0, 86_400), PATIENCE),
            login_rate=take("login.rate", values.rate, limits.parse("10/minute")),
            show_reason=take("login.show_reason", values.boolean, False),
            oidc=read_oidc(reader, development or private),
            login_methods=read_methods(reader),
            paths=read_paths(reader),
            login_links=take("login.links", values.links, ()),
            site_name=take("site.name", values.plain, None),
            api_prefixes=take("api_prefixes", values.paths, ()),
            refresh_exclude=take("refresh.exclude", values.paths, ("/static", "/health")),
            cors_origins=take("cors.origins", values.origins, ()),
            cors_headers=take("cors.headers", values.header_names, ()),
            host_session=take("host_session", values.one_of(("invalidate", "keep")), "invalidate"),
            headers=take("headers", values.one_of(("own", "all", "off")), "own"),
            edge=read_edge(reader, development, private),
            shown=reader.shown,
        )  # fmt: skip


def known_keys() -> list[str]:
    """Return the keys of all settings that exist, such as ``authapp.secret``."""
    reader = Ini(with_preset({}), PREFIX)
    Settings._read(reader)
    return reader.known


def settings_of(registry: Registry) -> Settings:
    """Return the settings of an application that includes authapp."""
    settings: Settings = registry.getUtility(ISettings)
    return settings
