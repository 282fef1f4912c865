"""The ini file as one frozen value; all that is wrong with it is said at once.

Each setting has one line here: key, how its text is read, and the default. A reader raises
``ValueError`` with what is allowed; the key and the value (never a secret's) are put in
front of it in one place.
"""

import difflib
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import limits
from pyramid.exceptions import ConfigurationError

from authapp.backend.wire import PRESETS, Wire
from authapp.cookies import SessionCookie
from authapp.sealing import FORMATS

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

T = TypeVar("T")


class SettingsError(ConfigurationError):
    """What is wrong with the settings, one line a problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Verify:
    """How the backend's access tokens are verified (``backend.verify``).

    Either ``secret`` (HS256) or ``jwks``, the URL of a key set, is given.
    """

    secret: str | None = field(default=None, repr=False)
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: int = 30


@dataclass(frozen=True)
class ClaimNames:
    """Where in the access token the parts of an identity stand.

    Each is a tuple of dotted paths, of which the first that is there counts.
    """

    id: tuple[str, ...]
    email: tuple[str, ...]
    name: tuple[str, ...]
    roles: tuple[str, ...]
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """All settings of contract section 6. Durations are seconds."""

    secrets: tuple[bytes, ...] = field(repr=False)
    development: bool
    cookie: SessionCookie
    session_format: str
    backend_url: str | None
    wire: Wire
    backend_ca: str | None
    backend_timeout: float
    backend_waiting: int
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
        ini_reader = _Ini(ini)
        take = ini_reader.take

        development = take("development", _boolean, False)
        no_secrets: tuple[bytes, ...] = ()
        secrets = take("secret", _secrets(development), no_secrets, secret=True, missing=_NO_SECRET)
        domain = take("session.domain", _domain, None)
        samesite = take("session.samesite", _samesite(development), "Lax")
        name = take(
            "session.cookie",
            _cookie_name(development, domain),
            SessionCookie.default_name(secure=not development, domain=domain),
        )
        url = take("backend.url", _backend_url(development), None)
        wire = take("backend.preset", _one_of(PRESETS), PRESETS["simplejwt"])
        overrides = {
            key: take(f"backend.{key}", _literal if key == "client_secret"
                      else _path if key.endswith("_path") else _text, None,
                      secret=key == "client_secret")
            for key in Wire.OVERRIDABLE
        }  # fmt: skip
        verify = take("backend.verify", _verify(development), None, secret=True)
        issuer = take("backend.issuer", _text, None)
        audience = take("backend.audience", _text, None)
        leeway = take("backend.leeway", _whole(0, 600), 30)
        ini_reader.needs("backend.client_secret", "backend.client_id")
        for key in ("issuer", "audience", "leeway"):
            ini_reader.needs(f"backend.{key}", "backend.verify")
        if verify and verify.jwks == EMBEDDED and url != EMBEDDED:
            ini_reader.problem(
                f"authapp.backend.verify: jwks:{EMBEDDED} goes with"
                f" authapp.backend.url = {EMBEDDED} only"
            )
        settings = cls(
            secrets=secrets,
            development=development,
            cookie=SessionCookie(name, not development, domain, samesite),
            session_format=take("session.format", _one_of({each: each for each in FORMATS}),
                                "next-auth-4"),
            backend_url=url,
            wire=wire.override(overrides),
            backend_ca=take("backend.ca", _authorities, None),
            backend_timeout=take("backend.timeout", _decimal(0.05, 60), 5.0),
            backend_waiting=take("backend.waiting", _count, 3),
            verify=verify and Verify(verify.secret, verify.jwks, issuer, audience, leeway),
            claims=ClaimNames(
                take("claims.id", _words, ("sub", "user_id", "id")),
                take("claims.email", _words, ("email",)),
                take("claims.name", _words, ("name",)),
                take("claims.roles", _words, ("roles",)),
                take("claims.scopes", _words, ("scope",)),
            ),
            refresh_buffer=take("refresh.buffer", _whole(0, 86_400), 300),
            refresh_reuse=take("refresh.reuse", _whole(0, 3_600), 60),
            refresh_lifetime=take("refresh.lifetime", _whole(1, 315_360_000), 604_800),
            shared=take("shared", _shared, MEMORY, secret=True),
            login_rate=take("login.rate", _rate, limits.parse("10/minute")),
            api_prefixes=take("api_prefixes", _paths, ()),
            refresh_exclude=take("refresh.exclude", _paths, ("/static", "/health")),
            cors_origins=take("cors.origins", _origins, ()),
            headers=take("headers", _one_of({each: each for each in ("own", "all", "off")}), "own"),
            shown=ini_reader.shown,
        )  # fmt: skip
        ini_reader.finish([] if ini_reader.has("backend.url") else [BACKEND_URL_MISSING])
        return settings


class _Ini:
    """Takes keys out of the ini file one by one and collects what is wrong."""

    def __init__(self, ini: Mapping[str, Any]) -> None:
        self._left = {key: value for key, value in ini.items() if key.startswith(PREFIX)}
        self._known: list[str] = []
        self._problems: list[str] = []
        self.shown: dict[str, str] = {}

    def take(
        self,
        key: str,
        read: Callable[[str], T],
        default: T,
        *,
        secret: bool = False,
        missing: str | None = None,
    ) -> T:
        """The value of a key, or its default; a problem is noted and the default returned.

        :param missing: the problem that it is when the key is not there.
        """
        key = PREFIX + key
        self._known.append(key)
        text = str(self._left.pop(key, "")).strip()
        if not text:
            if missing:
                self._problems.append(missing)
            return default
        secret = secret or "@" in text  # a URL with a password in it
        self.shown[key] = "***" if secret else text
        try:
            return read(text)
        except ValueError as error:
            value = "" if secret else f" = {text!r}"
            self._problems.append(f"{key}{value}: {error}")
            return default

    def needs(self, key: str, other: str) -> None:
        """Note where a key was set that has no effect without another."""
        if self.has(key) and not self.has(other):
            self.problem(f"{PREFIX}{key} has no effect without {PREFIX}{other}")

    def problem(self, line: str) -> None:
        """Note something that is wrong."""
        self._problems.append(line)

    def has(self, key: str) -> bool:
        """Whether a key was set."""
        return PREFIX + key in self.shown

    def finish(self, perhaps: list[str]) -> None:
        """Raise what was wrong, the keys that nobody knows included.

        :param perhaps: problems to add to others, which alone may be none.
        """
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, 1, 0)[0]
            self._problems.append(f"{key} is not a setting; the nearest is {near}")
        if self._problems:
            raise SettingsError(self._problems + perhaps)


def _text(text: str) -> str:
    return text


def _boolean(text: str) -> bool:
    values = {"true": True, "yes": True, "on": True, "1": True}
    values |= {"false": False, "no": False, "off": False, "0": False}
    if text.lower() not in values:
        raise ValueError("true or false is allowed")
    return values[text.lower()]


def _one_of(values: Mapping[str, T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        if text not in values:
            raise ValueError(f"one of {', '.join(values)} is allowed")
        return values[text]

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"whole seconds from {least} to {most} are allowed")
        return int(text)

    return read


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 to 9999 is allowed")
    return int(text)


def _decimal(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"seconds from {least} to {most} are allowed")
        return float(text)

    return read


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.replace(",", " ").split())
    if not words:
        raise ValueError("one word or more is allowed")
    return words


def _literal(text: str) -> str:
    """A secret as it stands, or ``env:NAME``, or ``file:PATH`` (its text, stripped)."""
    text = text.strip()
    kind, _, where = text.partition(":")
    if kind == "env":
        if not os.environ.get(where):
            raise ValueError(f"the environment has no {where}")
        return os.environ[where]
    if kind == "file":
        try:
            return Path(where).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise ValueError(f"the file {where} cannot be read") from None
    return text


def _secrets(development: bool) -> Callable[[str], tuple[bytes, ...]]:
    def read(text: str) -> tuple[bytes, ...]:
        secrets = tuple(_literal(line).encode() for line in text.split("\n") if line.strip())
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
        if text.removeprefix("__Host-") in ("authapp.csrf", "_LOCALE_"):
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
        value = _one_of({each: each for each in ("Lax", "Strict", "None")})(text.capitalize())
        if value == "None" and development:
            raise ValueError("None needs https, so it is allowed without authapp.development only")
        return value

    return read


def _domain(text: str) -> str:
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if not re.fullmatch(rf"\.?({label}\.)*[a-z]([a-z0-9-]*[a-z0-9])?", text, re.IGNORECASE):
        raise ValueError("a domain such as example.com is allowed")
    return text


def _url(text: str, development: bool) -> str:
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    plain = re.fullmatch(r"[!-~]+", text) and not set(text) & set("\\?#@")
    if not good or not plain or parts.scheme not in ("https", "http"):
        raise ValueError("a URL such as https://auth.example.com is allowed")
    if parts.scheme == "http" and not development:
        raise ValueError("https is needed; http is allowed with authapp.development = true only")
    return text


def _backend_url(development: bool) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text != EMBEDDED:
            return _url(text, development).rstrip("/")
        if not development:
            raise ValueError("the embedded issuer is allowed with authapp.development = true only")
        return text

    return read


def _authorities(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except OSError:
        raise ValueError("a file of certificates in PEM form is allowed") from None
    return text


def _verify(development: bool) -> Callable[[str], Verify]:
    def read(text: str) -> Verify:
        kind, _, value = text.partition(":")
        if kind == "secret" and value:
            return Verify(secret=_literal(value))
        if kind == "jwks" and value:
            return Verify(jwks=value if value == EMBEDDED else _url(value, development))
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
    paths = _words(text)
    if not all(path.startswith("/") for path in paths):
        raise ValueError("path prefixes that begin with / are allowed")
    return tuple(path.rstrip("/") for path in paths)


def _origins(text: str) -> tuple[str, ...]:
    origins = _words(text)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s*]+", origin):
            raise ValueError("origins such as https://app.example.com are allowed")
    return origins
