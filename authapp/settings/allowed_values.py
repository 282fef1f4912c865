"""The allowed values of settings: one reader for each kind of value.

A reader is a function that takes the text of a setting and returns its value. If the text is not
allowed, the reader raises ``ValueError`` with a message that says what is allowed.
:class:`authapp.settings.ini.Ini` adds the key and the text to this message. A function that takes
other arguments, such as bounds, returns a reader.
"""

import os
import re
import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

import limits
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pyramid.settings import falsey, truthy

from authapp.backend.token_reader import Verify
from authapp.session.cookies import CSRF_COOKIE, SessionCookie

EMBEDDED = "embedded:"
"""The value of ``backend.url`` for the embedded issuer."""

MEMORY = "memory:"
"""The value of ``shared`` for a store in the memory of this process."""

SECRET_LENGTH = 32
"""A secret must have at least this many bytes."""

_DISTINCT = 8
"""A secret must have at least this many different bytes."""

PLACEHOLDER = "development-only"
"""The prefix of placeholder secrets, which are allowed only with ``development``."""

_ONLY_IN_DEVELOPMENT = "is allowed only with authapp.development = true"
_NOT_IN_DEVELOPMENT = "needs https and cannot be used with authapp.development = true"

MAKE_ONE = 'make a good one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'


def plain(text: str) -> str:
    """Return the text unchanged. Any text is allowed."""
    return text


def boolean(text: str) -> bool:
    """Read true or false, in the words that Pyramid accepts (``yes``, ``on``, ``1`` and so on)."""
    word = text.lower()
    if word not in truthy | falsey:
        raise ValueError("must be true or false")
    return word in truthy


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Return a function that reads one of the given names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a function that reads whole seconds from ``least`` to ``most``."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be whole seconds from {least} to {most}")
        return int(text)

    return read


def count(text: str) -> int:
    """Read a count: a whole number from 1 to 9999."""
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError("must be a whole number from 1 to 9999")
    return int(text)


def decimal(least: float, most: float) -> Callable[[str], float]:
    """Return a function that reads seconds from ``least`` to ``most``, such as ``2`` or ``2.5``."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"must be seconds from {least} to {most}")
        return float(text)

    return read


def words(text: str) -> tuple[str, ...]:
    """Read words that are separated by white space or commas."""
    found = tuple(text.replace(",", " ").split())
    if not found:
        raise ValueError("must contain at least one word")
    return found


def resolve(text: str) -> str:
    """Return the value of an environment variable (``env:NAME``) or of a file (``file:PATH``).

    :returns: for ``env:``, the variable. For ``file:``, the text of the file. For any other text,
        and for a text of several lines, the text itself. White space at both ends is removed.
    :raises ValueError: if the variable is missing or empty, or the file is empty or not readable.
    """
    text = text.strip()
    kind, _, where = text.partition(":")
    where = where.strip()
    if "\n" in text:
        return text
    if kind.lower() == "env":
        text = os.environ.get(where, "").strip().removeprefix("\ufeff").strip()
        if not text:
            raise ValueError(f"the environment variable {where} is not set or is empty")
    elif kind.lower() == "file":
        try:
            text = Path(where).read_text(encoding="utf-8-sig").strip()
        except (OSError, ValueError):
            raise ValueError(f"the file {where} cannot be read") from None
        if not text:
            raise ValueError(f"the file {where} is empty")
    return text


def secrets(development: bool) -> Callable[[str], tuple[bytes, ...]]:
    """Return a function that reads one or more secrets, one per line."""

    def read(text: str) -> tuple[bytes, ...]:
        secrets = tuple(resolve(line).encode() for line in text.split("\n") if line.strip())
        for number, secret in enumerate(secrets, 1):
            line = f"line {number}" if len(secrets) > 1 else "it"
            if len(secret) < SECRET_LENGTH:
                raise ValueError(f"{line} has fewer than {SECRET_LENGTH} bytes; {MAKE_ONE}")
            if len(set(secret)) < _DISTINCT:
                raise ValueError(f"{line} has fewer than {_DISTINCT} different bytes; {MAKE_ONE}")
            if secret.startswith(PLACEHOLDER.encode()) and not development:
                placeholder = f"a placeholder, which begins with {PLACEHOLDER},"
                raise ValueError(f"{line} is {placeholder} and {_ONLY_IN_DEVELOPMENT}; {MAKE_ONE}")
        if len(set(secrets)) < len(secrets):
            raise ValueError("two lines hold the same secret")
        return secrets

    return read


def cookie_name(development: bool, domain: str | None) -> Callable[[str], str]:
    """Return a function that reads the session cookie's name.

    :param development: True to refuse names with ``__Host-`` and ``__Secure-``, which need https.
    :param domain: the domain of the cookie, or None. With a domain, ``__Host-`` is refused.
    """

    def read(text: str) -> str:
        if not SessionCookie.valid_name(text):
            raise ValueError("must be up to 128 letters, digits and !#%&'*+-.^_`|~")
        if text.removeprefix("__Host-") in (CSRF_COOKIE, "_LOCALE_"):
            raise ValueError("another cookie has this name; choose a different one")
        if text.startswith(("__Host-", "__Secure-")) and development:
            raise ValueError(f"a name with __Host- or __Secure- {_NOT_IN_DEVELOPMENT}")
        if text.startswith("__Host-") and domain:
            raise ValueError("a name with __Host- cannot be used with authapp.session.domain")
        return text

    return read


def samesite(development: bool) -> Callable[[str], str]:
    """Return a function that reads ``Lax``, ``Strict`` or ``None``, in upper or lower case."""

    def read(text: str) -> str:
        value = one_of(("Lax", "Strict", "None"))(text.capitalize())
        if value == "None" and development:
            raise ValueError(f"None {_NOT_IN_DEVELOPMENT}")
        return value

    return read


def domain(text: str) -> str:
    """Read the domain of a cookie."""
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if not re.fullmatch(rf"\.?({label}\.)*[a-z]([a-z0-9-]*[a-z0-9])?", text, re.IGNORECASE):
        raise ValueError("must be a domain such as example.com")
    return text


def hosts(text: str) -> tuple[str, ...]:
    """Read host names without ports, and return them in lower case."""
    hosts = words(text.lower())
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
            raise ValueError("must be host names such as box.example.com, without ports")
    return hosts


def url(text: str, http: bool, allowed: str) -> str:
    """Read an absolute http or https URL, without user name, query or fragment.

    :param http: True to allow http.
    :param allowed: what is allowed, in words, for the error. An http URL where only https is
        allowed has an error of its own.
    :raises ValueError: if ``text`` is not such a URL.
    """
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    good = good and re.fullmatch(r"[!-~]+", text) is not None and not set(text) & set("\\?#@")
    if not good or parts.scheme not in ("https", "http"):
        raise ValueError(f"must be {allowed}")
    if parts.scheme == "http" and not http:
        raise ValueError(
            f"must use https; http {_ONLY_IN_DEVELOPMENT} or authapp.backend.private_network = true"
        )
    return text


def backend_url(development: bool, private: bool) -> Callable[[str], str]:
    """Return a function that reads the backend's base URL, or ``embedded:``.

    :param development: ``authapp.development``. True allows ``embedded:`` and http.
    :param private: ``authapp.backend.private_network``. True allows http.
    """

    def read(text: str) -> str:
        if text != EMBEDDED:
            allowed = "a URL such as https://auth.example.com"
            allowed += f" or {EMBEDDED}" if development else ""
            return url(text, development or private, allowed).rstrip("/")
        if not development:
            raise ValueError(f"the embedded issuer {_ONLY_IN_DEVELOPMENT}")
        return text

    return read


def authorities(text: str) -> str:
    """Read the path of a PEM file with the certificates of the authorities that authapp trusts.

    If the file does not exist or contains no such certificate, the text is refused.
    """
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError("must be a file of certificates in PEM format") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return text


def verify(development: bool, private: bool) -> Callable[[str], Verify]:
    """Return a function that reads ``backend.verify``: ``secret:…``, ``jwks:…`` or ``pem:…``."""

    def read(text: str) -> Verify:
        kind, _, value = text.partition(":")
        if kind == "secret" and value:
            return Verify(secret=resolve(value))
        value = resolve(value)
        if kind == "jwks" and value:
            allowed = "jwks: and a URL such as https://auth.example.com/jwks"
            allowed = f"jwks:{EMBEDDED}, or {allowed}" if development else allowed
            return Verify(
                jwks=value if value == EMBEDDED else url(value, development or private, allowed)
            )
        if kind == "pem" and value:
            return Verify(pem=_public_key(value))
        raise ValueError("must be secret:…, jwks:URL or pem:PATH")

    return read


def _public_key(text: str) -> str:
    """Return a public key in PEM format. The text is the key, or the path of the key file."""
    try:
        pem = text if text.startswith("-----BEGIN") else Path(text).read_text(encoding="utf-8-sig")
        load_pem_public_key(pem.encode())
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise ValueError("pem: and a file with a public key in PEM format is allowed") from None
    return pem


def store_url(text: str) -> str:
    """Read the URL of the store: ``memory:`` or a URL of Redis, Sentinel or a Redis cluster."""
    if text != MEMORY and not re.match(r"rediss?(\+sentinel|\+cluster)?:", text):
        raise ValueError(
            "must be memory:, redis://…, rediss://…, redis+sentinel://… or redis+cluster://…"
        )
    return text


def rate(text: str) -> limits.RateLimitItem:
    """Read one rate, such as ``10/minute``."""
    try:
        (rate,) = limits.parse_many(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise ValueError("must be one rate such as 10/minute or 100/hour")
    return rate


def paths(text: str) -> tuple[str, ...]:
    """Read path prefixes, and return them without a slash at the end."""
    paths = words(text)
    if not all(path.startswith("/") for path in paths):
        raise ValueError("must be path prefixes that begin with /")
    return tuple(path.rstrip("/") for path in paths)


def header_names(text: str) -> tuple[str, ...]:
    """Read names of header fields (RFC 9110 section 5.1), such as ``X-Client-Version``."""
    names = words(text)
    for name in names:
        if name == "*" or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", name):
            raise ValueError("must be names of headers such as X-Client-Version")
    return names


def links(text: str) -> tuple[tuple[str, str], ...]:
    """Read links, one per line, such as ``Forgot password? = https://example.com/reset``.

    :returns: pairs of a label and a URL. The URL begins with ``http:``, ``https:`` or ``mailto:``,
        or is a path on this site.
    """
    links = []
    good = re.compile(r"(https?://[^\s/\\]|mailto:|/(?![/\\]))[!-~]*", re.IGNORECASE)
    for line in filter(None, map(str.strip, text.split("\n"))):
        label, _, url = (part.strip() for part in line.partition(" = "))
        if not label or not good.fullmatch(url):
            raise ValueError("must be lines such as: Forgot password? = https://example.com/reset")
        links.append((label, url))
    return tuple(links)


def origins(text: str) -> tuple[str, ...]:
    """Read origins (RFC 6454), such as ``https://app.example.com``."""
    origins = words(text)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s*]+", origin):
            raise ValueError("must be origins such as https://app.example.com")
    return origins
