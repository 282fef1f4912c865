"""Write encrypted sessions to cookies, and read them: names, prefixes and chunks.

In this module, a *token* is an encrypted session.

This module finds the session cookie and its chunks in a ``Cookie`` header without parsing all
cookies. To parse all cookies would take longer than to decrypt the session.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from webob.cookies import RequestCookies, make_cookie

CSRF_COOKIE = "authapp.csrf"
"""The name of the CSRF cookie. The session cookie must not have the same name."""

CHUNK_LENGTH = 3900
"""The most characters of an encrypted session in one cookie. Browsers accept 4,096 bytes including
the name."""

MAX_CHUNKS = 3
"""The most cookies for one encrypted session. Many servers accept at most 8 to 16 KB of headers."""

CACHED = 1024
"""How many ``Cookie`` headers are cached, including headers without a session."""

LONGEST = 8192
"""The length of the longest header that is cached. Many proxies refuse longer headers."""

_NAME = re.compile(r"\A(?!\$)[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}\Z")

_INDEX = re.compile("0|[1-9][0-9]?")

_MAX_VALUES = 5
"""The most values read for one cookie name. A sibling domain can set many cookies of that name, and
each value has to be decrypted."""

_MAX_NAMES = 10
"""The most cookies that one response clears. Some proxies accept only 4 KB of response headers."""

_LONGEST_NAME = 256
_LEGAL_VALUE = "A-Za-z0-9~!@#$%^&*()_+=`.?|:/{}<>'-"  # as in WebOb
_PAIR = re.compile(
    rf"([!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,{_LONGEST_NAME}}})[ \t]*=[ \t]*"
    rf"""("(?:[^\\"]|\\.)*"|[{_LEGAL_VALUE}]*)"""
)
_LEGAL = b";" + bytes(each for each in range(128) if re.match(f"[{_LEGAL_VALUE}]", chr(each)))
"""The characters that :func:`readable` accepts without repair. Spaces are checked separately."""

_set_cookie = lru_cache(maxsize=256)(make_cookie)
"""Formats a ``Set-Cookie`` value. The values are cached, because many responses set the same cookie
after a renewal."""


class SessionTooLarge(ValueError):
    """The token needs more than :data:`MAX_CHUNKS` cookies."""


class Candidates(NamedTuple):
    """The session cookies and chunks in a ``Cookie`` header.

    :param candidates: strings to decrypt. Each may be a complete encrypted session. First come the
        values of session cookies, then the joined values of chunks. A chunk is a cookie that
        contains a part of an encrypted session.
    :param names: the names of the session cookies and chunks in the header, even if their values
        are invalid.
    """

    candidates: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Candidates({', '.join(self.names)})"


def readable(header: str) -> str:
    """Repair a ``Cookie`` header, so that WebOb can parse the header safely.

    WebOb's parser has two weaknesses:

    - If a part of the header is not ``name=value``, parsing takes quadratic time. For 60 KB, WebOb
      blocks all threads of the process for half a minute.
    - If one value is not UTF-8 (``x="\\377"``), WebOb can read no cookie at all. The browser sends
      that cookie with every request until the cookie expires.

    This function removes such parts and such cookies from the header. In the result, each value
    ends where WebOb would end the value.

    :param header: any string. The bytes of the header must be decoded as latin-1.
    :returns: the header with the remaining cookies. WebOb reads the same values of these cookies
        as in the original header.
    """
    return _repair_cached(header) if len(header) <= LONGEST else _repair(header)


def _repair(header: str) -> str:
    """Repair a header: see :func:`readable`."""
    plain = header.encode("latin-1", "replace").translate(None, _LEGAL) == b" " * header.count("; ")
    if plain and all(0 < pair.find("=") <= _LONGEST_NAME for pair in header.split(";")):
        return header
    pairs = (_PAIR.match(pair.strip(" \t")) for pair in header.split(";"))
    return "; ".join(f"{pair[1]}={pair[2]}" for pair in pairs if pair and _is_utf8(pair[2]))


_repair_cached = lru_cache(maxsize=CACHED)(_repair)
""":func:`_repair` with a cache, because a browser sends the same header with many requests."""


def _is_utf8(value: str) -> bool:
    """Return True if WebOb can decode a cookie value as UTF-8."""
    if "\\" in value or not value.isascii():
        try:
            dict(RequestCookies({"HTTP_COOKIE": f"x={value}"}))
        except UnicodeDecodeError:
            return False
    return True


@dataclass(frozen=True)
class SessionCookie:
    """The session cookie: its name and attributes (RFC 6265 section 4.1).

    :param name: the name of the cookie.
    :param secure: if True, the browser sends the cookie over HTTPS only.
    :param domain: the browser sends the cookie to this domain and its subdomains. If ``domain`` is
        None, the browser sends the cookie only to the host that set the cookie.
    :param samesite: ``Lax``, ``Strict`` or ``None``.
    """

    name: str
    secure: bool
    domain: str | None = None
    samesite: str = "Lax"

    @staticmethod
    def default_name(*, secure: bool, domain: str | None) -> str:
        """Return the default name of the cookie.

        If ``secure`` is True, the name has a prefix. Only HTTPS pages can set a cookie whose name
        has such a prefix. Sibling domains cannot set a cookie with the prefix ``__Host-`` (RFC
        6265bis section 4.1.3).
        """
        prefix = "" if not secure else "__Secure-" if domain else "__Host-"
        return f"{prefix}authapp.session"

    @staticmethod
    def valid_name(name: str) -> bool:
        """Return True if ``name`` is a valid name for a cookie (RFC 6265 section 4.1.1)."""
        return _NAME.match(name) is not None

    def read(self, header: str) -> Candidates:
        """Find the session cookies and chunks in a ``Cookie`` header.

        A header may contain more than one encrypted session, for three reasons:

        - The cookie was set twice, for different paths or by a sibling domain.
        - The header contains a complete encrypted session and also chunks.
        - Chunks of an earlier, longer session are still stored in the browser.

        The caller tries to decrypt every candidate. A candidate that was joined from chunks of
        different sessions does not decrypt.

        :param header: any string.
        :returns: a limited number of candidates.
        """
        whole: list[str] = []
        chunks: dict[int, list[str]] = {}
        names: dict[str, None] = {}
        for pair in header.split(";"):
            name, _, value = pair.strip(" \t").partition("=")
            if name == self.name:
                whole.append(value)
            elif (index := self._chunk_index(name)) is not None:
                chunks.setdefault(index, []).append(value)
            else:
                continue
            names[name] = None
        candidates = dict.fromkeys((*whole[: _MAX_VALUES - 1], *whole[-1:]))
        for pick in (0, -1) if chunks else ():
            joined = ""
            for index in range(MAX_CHUNKS):
                if index not in chunks:
                    break
                joined += chunks[index][pick]
                candidates[joined] = None
        return Candidates(tuple(candidates), tuple(names)[:_MAX_NAMES])

    def _chunk_index(self, name: str) -> int | None:
        """Return the index in a chunk's name (``<name>.0`` to ``<name>.99``), or None."""
        base, _, index = name.rpartition(".")
        return int(index) if base == self.name and _INDEX.fullmatch(index) else None

    def write(self, token: str, max_age: int | None, names: Collection[str] = ()) -> list[str]:
        """Return the headers that store an encrypted session in the browser.

        :param token: the encrypted session.
        :param max_age: seconds after which the browser deletes the cookies. None: the cookies are
            deleted when the browser is closed.
        :param names: the names of the session cookies and chunks in the request. Those that
            ``token`` does not need are cleared.
        :returns: values for ``Set-Cookie`` headers.
        :raises SessionTooLarge: if ``token`` needs more than :data:`MAX_CHUNKS` cookies.
        """
        parts = [token[at : at + CHUNK_LENGTH] for at in range(0, len(token), CHUNK_LENGTH)]
        if len(parts) > MAX_CHUNKS:
            raise SessionTooLarge(
                f"an encrypted session of {len(token)} bytes does not fit into cookies"
            )
        if len(parts) == 1:
            values = {self.name: token}
        else:
            values = {f"{self.name}.{index}": part for index, part in enumerate(parts)}
        written = [self._cookie(name, value, max_age) for name, value in values.items()]
        replaced = [name for name in names if name in values]
        unused = [name for name in names if name not in values]
        return self._clear_host_only(replaced) + written + self.clear(unused)

    def clear(self, names: Iterable[str]) -> list[str]:
        """Return the headers that delete cookies from the browser.

        :param names: the names of the cookies.
        :returns: values for ``Set-Cookie`` headers.
        """
        names = tuple(names)
        return self._clear_host_only(names) + [self._cookie(name, None, 0) for name in names]

    def _clear_host_only(self, names: Iterable[str]) -> list[str]:
        """Clear cookies that were set before ``session.domain`` was configured."""
        return replace(self, domain=None).clear(names) if self.domain else []

    def owns(self, set_cookie: str) -> bool:
        """Return True if a ``Set-Cookie`` value sets the session cookie or a chunk."""
        name = set_cookie.partition("=")[0]
        return name == self.name or self._chunk_index(name) is not None

    def _cookie(self, name: str, value: str | None, max_age: int | None) -> str:
        cookie: str = _set_cookie(
            name,
            value,
            max_age=max_age,
            path="/",
            domain=self.domain,
            secure=self.secure,
            httponly=True,
            samesite=self.samesite,
        )
        return cookie
