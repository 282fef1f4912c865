"""What the text of a setting may be: one reader for each kind of value.

A reader makes a value of a text. If it cannot, it raises ``ValueError`` with what is allowed;
:class:`authapp.settings.ini.Ini` puts the key and the text in front of that.
"""

import os
import re
import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

import limits
from pyramid.settings import falsey, truthy

from authapp.backend.token_reader import Verify
from authapp.session.cookies import CSRF_COOKIE, SessionCookie

EMBEDDED = "embedded:"
MEMORY = "memory:"
SECRET_LENGTH = 32
PLACEHOLDER = "development-only"
"""Secrets that begin like this are placeholders, allowed only in ``development``."""

MAKE_ONE = 'make a good one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'


def plain(text: str) -> str:
    """Any text."""
    return text


def boolean(text: str) -> bool:
    """Yes or no, in the words that Pyramid takes."""
    word = text.lower()
    if word not in truthy | falsey:
        raise ValueError("true or false is allowed")
    return word in truthy


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """One of these names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)} is allowed")
        return text

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Whole seconds."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"whole seconds from {least} to {most} are allowed")
        return int(text)

    return read


def count(text: str) -> int:
    """How many of something."""
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 to 9999 is allowed")
    return int(text)


def decimal(least: float, most: float) -> Callable[[str], float]:
    """Seconds, and parts of one."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"seconds from {least} to {most} are allowed")
        return float(text)

    return read


def words(text: str) -> tuple[str, ...]:
    """Words, with blanks or commas between them."""
    found = tuple(text.replace(",", " ").split())
    if not found:
        raise ValueError("one word or more is allowed")
    return found


def literal(text: str) -> str:
    """A secret as it stands, or ``env:NAME``, or ``file:PATH`` (its text, stripped)."""
    text = text.strip()
    kind, _, where = text.partition(":")
    if kind.lower() == "env":
        if not os.environ.get(where):
            raise ValueError(f"the environment has no {where}")
        return os.environ[where]
    if kind.lower() == "file":
        try:
            return Path(where).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise ValueError(f"the file {where} cannot be read") from None
    return text


def secrets(development: bool) -> Callable[[str], tuple[bytes, ...]]:
    """Secrets, one a line."""

    def read(text: str) -> tuple[bytes, ...]:
        secrets = tuple(literal(line).encode() for line in text.split("\n") if line.strip())
        for number, secret in enumerate(secrets, 1):
            line = f"line {number}" if len(secrets) > 1 else "it"
            if len(secret) < SECRET_LENGTH:
                raise ValueError(f"{line} has fewer than {SECRET_LENGTH} bytes; {MAKE_ONE}")
            if len(set(secret)) < 8:
                raise ValueError(f"{line} repeats a few characters; {MAKE_ONE}")
            if secret.startswith(PLACEHOLDER.encode()) and not development:
                raise ValueError(f"{line} is the placeholder of development.ini; {MAKE_ONE}")
        if len(set(secrets)) < len(secrets):
            raise ValueError("the same secret stands in it twice")
        return secrets

    return read


def cookie_name(development: bool, domain: str | None) -> Callable[[str], str]:
    """The name of the session cookie."""

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


def samesite(development: bool) -> Callable[[str], str]:
    """``Lax``, ``Strict`` or ``None``, in any case of letters."""

    def read(text: str) -> str:
        value = one_of(("Lax", "Strict", "None"))(text.capitalize())
        if value == "None" and development:
            raise ValueError("None needs https, so it is allowed without authapp.development only")
        return value

    return read


def domain(text: str) -> str:
    """A cookie's domain."""
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if not re.fullmatch(rf"\.?({label}\.)*[a-z]([a-z0-9-]*[a-z0-9])?", text, re.IGNORECASE):
        raise ValueError("a domain such as example.com is allowed")
    return text


def hosts(text: str) -> tuple[str, ...]:
    """Host names, without ports."""
    hosts = words(text.lower())
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
            raise ValueError("host names such as box.example.com, without a port, are allowed")
    return hosts


def url(text: str, development: bool, allowed: str) -> str:
    """An absolute URL."""
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


def backend_url(development: bool) -> Callable[[str], str]:
    """The backend's base URL, or ``embedded:``."""

    def read(text: str) -> str:
        if text != EMBEDDED:
            allowed = "a URL such as https://auth.example.com"
            allowed += f", or {EMBEDDED}," if development else ""
            return url(text, development, allowed).rstrip("/")
        if not development:
            raise ValueError("the embedded issuer is allowed with authapp.development = true only")
        return text

    return read


def authorities(text: str) -> str:
    """A PEM file of certificate authorities."""
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError("a file of certificates in PEM form is allowed") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return text


def verify(development: bool) -> Callable[[str], Verify]:
    """How access tokens are verified."""

    def read(text: str) -> Verify:
        kind, _, value = text.partition(":")
        if kind == "secret" and value:
            return Verify(secret=literal(value))
        if kind == "jwks" and value:
            allowed = "jwks: and a URL such as https://auth.example.com/jwks,"
            allowed = f"jwks:{EMBEDDED}, or {allowed}" if development else allowed
            return Verify(jwks=value if value == EMBEDDED else url(value, development, allowed))
        raise ValueError("secret:… or jwks:URL is allowed")

    return read


def store_url(text: str) -> str:
    """Where the store is."""
    if text != MEMORY and urlsplit(text).scheme not in ("redis", "rediss"):
        raise ValueError("memory:, redis://… or rediss://… is allowed")
    return text


def rate(text: str) -> limits.RateLimitItem:
    """One rate, such as ``10/minute``."""
    try:
        (rate,) = limits.parse_many(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise ValueError("one rate such as 10/minute or 100/hour is allowed")
    return rate


def path(text: str) -> str:
    """A path."""
    if not re.fullmatch(r"/(?!/)[!-~]*", text):
        raise ValueError("a path that begins with / is allowed")
    return text


def paths(text: str) -> tuple[str, ...]:
    """Path prefixes."""
    paths = words(text)
    if not all(path.startswith("/") for path in paths):
        raise ValueError("path prefixes that begin with / are allowed")
    return tuple(path.rstrip("/") for path in paths)


def origins(text: str) -> tuple[str, ...]:
    """Origins of the Fetch standard."""
    origins = words(text)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s*]+", origin):
            raise ValueError("origins such as https://app.example.com are allowed")
    return origins
