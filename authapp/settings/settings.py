"""The ini file as one frozen value; all that is wrong with it is said at once.

Each setting has one line here: key, how its text is read, and the default.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import limits

from authapp.backend.presets import PRESETS, Wire
from authapp.backend.token_reader import ClaimNames, Verify
from authapp.session.encryption import FORMATS
from authapp.session.session import MAX_LIFETIME
from authapp.settings.ini import Ini, boolean, count, decimal, literal, one_of, plain, whole, words
from authapp.settings.ini import SettingsError as SettingsError  # what reading them raises
from authapp.session.cookies import CSRF_COOKIE, SessionCookie

PREFIX = "authapp."
EMBEDDED = "embedded:"
MEMORY = "memory:"
SECRET_LENGTH = 32
PLACEHOLDER = "development-only"
"""Secrets that begin like this are placeholders, and good for ``development`` only."""

_MAKE_ONE = 'make a good one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
_NO_SECRET = f"authapp.secret is missing: {SECRET_LENGTH} bytes are needed; {_MAKE_ONE}"
BACKEND_URL_MISSING = (
    f"authapp.backend.url is missing: the base URL of the backend is needed, or {EMBEDDED} in"
    " development"
)


@dataclass(frozen=True)
class Settings:
    """All settings: contract section 6, and what was added to it. Durations are seconds."""

    secrets: tuple[bytes, ...] = field(repr=False)
    development: bool
    development_hosts: tuple[str, ...]
    cookie: SessionCookie
    session_format: str
    backend_url: str | None
    wire: Wire
    backend_ca: str | None
    backend_timeout: float
    backend_bulkhead: int
    verify: Verify | None
    claims: ClaimNames
    refresh_buffer: int
    refresh_reuse: int
    refresh_lifetime: int
    shared: str = field(repr=False)
    login_rate: limits.RateLimitItem
    api_prefixes: tuple[str, ...]
    refresh_exclude: tuple[str, ...]
    cors_origins: tuple[str, ...]
    headers: str
    shown: Mapping[str, str] = field(repr=False)
    """Each key that was set, with its text; secrets as ``***``. For introspection."""

    @classmethod
    def from_ini(cls, ini: Mapping[str, Any]) -> "Settings":
        """Read the ``authapp.`` keys of an ini file.

        :param ini: as Pyramid's ``registry.settings``; other keys are left alone.
        :returns: the settings; ``backend_url`` may be missing, for an application that
            brings a backend of its own.
        :raises SettingsError: with every problem there is.
        """
        ini_reader = Ini(ini, PREFIX)
        take = ini_reader.take

        development = take("development", boolean, False)
        no_secrets: tuple[bytes, ...] = ()
        secrets = take("secret", _secrets(development), no_secrets, secret=True, missing=_NO_SECRET)
        no_names: tuple[str, ...] = ()
        hosts = take("development.hosts", _hosts, no_names)
        ini_reader.needs("development.hosts", "development")
        domain = take("session.domain", _domain, None)
        samesite = take("session.samesite", _samesite(development), "Lax")
        name = take(
            "session.cookie",
            _cookie_name(development, domain),
            SessionCookie.default_name(secure=not development, domain=domain),
        )
        url = take("backend.url", _backend_url(development), None)
        wire = PRESETS[take("backend.preset", one_of(PRESETS), "simplejwt")]
        overrides = {
            key: take(f"backend.{key}", literal if key == "client_secret"
                      else _path if key.endswith("_path") else plain, None,
                      secret=key == "client_secret")
            for key in Wire.OVERRIDABLE
        }  # fmt: skip
        verify = take("backend.verify", _verify(development), None, secret=True)
        issuer = take("backend.issuer", plain, None)
        audience = take("backend.audience", plain, None)
        leeway = take("backend.leeway", whole(0, 600), Verify.leeway)
        ini_reader.needs("backend.client_secret", "backend.client_id")
        for key in ("issuer", "audience", "leeway"):
            ini_reader.needs(f"backend.{key}", "backend.verify")
        if verify and verify.jwks == EMBEDDED and url != EMBEDDED:
            ini_reader.problem(
                f"authapp.backend.verify: jwks:{EMBEDDED} goes with"
                f" authapp.backend.url = {EMBEDDED} only"
            )
        if verify and verify.secret and url == EMBEDDED:
            ini_reader.problem(
                f"authapp.backend.verify: secret:… verifies nothing of {EMBEDDED}, which has a key"
                f" of its own; jwks:{EMBEDDED} does"
            )
        settings = cls(
            secrets=secrets,
            development=development,
            development_hosts=hosts,
            cookie=SessionCookie(name, not development, domain, samesite),
            session_format=take("session.format", one_of(FORMATS), "next-auth-4"),
            backend_url=url,
            wire=wire.override(overrides),
            backend_ca=take("backend.ca", _authorities, None),
            backend_timeout=take("backend.timeout", decimal(0.05, 60), 5.0),
            backend_bulkhead=take("backend.bulkhead", count, 3),
            verify=verify and replace(verify, issuer=issuer, audience=audience, leeway=leeway),
            claims=ClaimNames(
                take("claims.id", words, ("sub", "user_id", "id")),
                take("claims.email", words, ("email",)),
                take("claims.name", words, ("name",)),
                take("claims.roles", words, ("roles",)),
                take("claims.scopes", words, ("scope",)),
            ),
            refresh_buffer=take("refresh.buffer", whole(0, 86_400), 300),
            refresh_reuse=take("refresh.reuse", whole(0, 3_600), 60),
            refresh_lifetime=take("refresh.lifetime", whole(1, MAX_LIFETIME), 604_800),
            shared=take("shared", _shared, MEMORY, secret=True),
            login_rate=take("login.rate", _rate, limits.parse("10/minute")),
            api_prefixes=take("api_prefixes", _paths, ()),
            refresh_exclude=take("refresh.exclude", _paths, ("/static", "/health")),
            cors_origins=take("cors.origins", _origins, ()),
            headers=take("headers", one_of(("own", "all", "off")), "own"),
            shown=ini_reader.shown,
        )  # fmt: skip
        ini_reader.finish([] if ini_reader.has("backend.url") else [BACKEND_URL_MISSING])
        return settings


def _secrets(development: bool) -> Callable[[str], tuple[bytes, ...]]:
    def read(text: str) -> tuple[bytes, ...]:
        secrets = tuple(literal(line).encode() for line in text.split("\n") if line.strip())
        for number, secret in enumerate(secrets, 1):
            line = f"line {number}" if len(secrets) > 1 else "it"
            if len(secret) < SECRET_LENGTH:
                raise ValueError(f"{line} has fewer than {SECRET_LENGTH} bytes; {_MAKE_ONE}")
            if len(set(secret)) < 8:
                raise ValueError(f"{line} repeats a few characters; {_MAKE_ONE}")
            if secret.startswith(PLACEHOLDER.encode()) and not development:
                raise ValueError(f"{line} is the placeholder of development.ini; {_MAKE_ONE}")
        if len(set(secrets)) < len(secrets):
            raise ValueError("the same secret stands in it twice")
        return secrets

    return read


def _cookie_name(development: bool, domain: str | None) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not SessionCookie.valid_name(text):
            raise ValueError("up to 128 letters, digits and !#%&'*+-.^_`|~ are allowed")
        if text.removeprefix("__Host-") in (CSRF_COOKIE, "_LOCALE_"):
            raise ValueError("a name that is not taken is allowed")
        if text.startswith(("__Host-", "__Secure-")) and development:
            raise ValueError(
                "a prefix __Host- or __Secure- needs https, so it is allowed without"
                " authapp.development only"
            )
        if text.startswith("__Host-") and domain:
            raise ValueError("a name with __Host- is allowed without session.domain only")
        return text

    return read


def _samesite(development: bool) -> Callable[[str], str]:
    def read(text: str) -> str:
        value = one_of(("Lax", "Strict", "None"))(text.capitalize())
        if value == "None" and development:
            raise ValueError("None needs https, so it is allowed without authapp.development only")
        return value

    return read


def _domain(text: str) -> str:
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if not re.fullmatch(rf"\.?({label}\.)*[a-z]([a-z0-9-]*[a-z0-9])?", text, re.IGNORECASE):
        raise ValueError("a domain such as example.com is allowed")
    return text


def _hosts(text: str) -> tuple[str, ...]:
    hosts = words(text.lower())
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
            raise ValueError("host names such as box.example.com, without a port, are allowed")
    return hosts


def _url(text: str, development: bool, allowed: str) -> str:
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    good = good and re.fullmatch(r"[!-~]+", text) is not None and not set(text) & set("\\?#@")
    if not good or parts.scheme not in ("https", "http"):
        raise ValueError(f"{allowed} is allowed")
    if parts.scheme == "http" and not development:
        raise ValueError("https is needed; http is allowed with authapp.development = true only")
    return text


def _backend_url(development: bool) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text != EMBEDDED:
            allowed = "a URL such as https://auth.example.com"
            allowed += f", or {EMBEDDED}," if development else ""
            return _url(text, development, allowed).rstrip("/")
        if not development:
            raise ValueError("the embedded issuer is allowed with authapp.development = true only")
        return text

    return read


def _authorities(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError("a file of certificates in PEM form is allowed") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return text


def _verify(development: bool) -> Callable[[str], Verify]:
    def read(text: str) -> Verify:
        kind, _, value = text.partition(":")
        if kind == "secret" and value:
            return Verify(secret=literal(value))
        if kind == "jwks" and value:
            allowed = "jwks: and a URL such as https://auth.example.com/jwks,"
            allowed = f"jwks:{EMBEDDED}, or {allowed}" if development else allowed
            return Verify(jwks=value if value == EMBEDDED else _url(value, development, allowed))
        raise ValueError("secret:… or jwks:URL is allowed")

    return read


def _shared(text: str) -> str:
    if text != MEMORY and urlsplit(text).scheme not in ("redis", "rediss"):
        raise ValueError("memory:, redis://… or rediss://… is allowed")
    return text


def _rate(text: str) -> limits.RateLimitItem:
    try:
        (rate,) = limits.parse_many(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise ValueError("one rate such as 10/minute or 100/hour is allowed")
    return rate


def _path(text: str) -> str:
    if not re.fullmatch(r"/(?!/)[!-~]*", text):
        raise ValueError("a path that begins with / is allowed")
    return text


def _paths(text: str) -> tuple[str, ...]:
    paths = words(text)
    if not all(path.startswith("/") for path in paths):
        raise ValueError("path prefixes that begin with / are allowed")
    return tuple(path.rstrip("/") for path in paths)


def _origins(text: str) -> tuple[str, ...]:
    origins = words(text)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s*]+", origin):
            raise ValueError("origins such as https://app.example.com are allowed")
    return origins
