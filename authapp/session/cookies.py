"""Write a token to cookies, and read it again: names, prefixes, chunks.

The ``Cookie`` header is only searched for our own cookies. Parsing all cookies takes longer than
decrypting the session.
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
"""Characters of a token in one cookie. Browsers accept 4,096 bytes, with the name."""

MAX_CHUNKS = 3
"""How many cookies a token may take. Many servers accept no more than 8 to 16 KB of headers."""

_NAME = re.compile(r"\A(?!\$)[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}\Z")

_INDEX = re.compile("0|[1-9][0-9]?")

_MAX_VALUES = 5
"""How many values of one cookie name are tried. A sibling domain can set cookies of our name."""

_MAX_NAMES = 10
"""How many cookies one response clears. Proxies accept response headers of about 4 KB."""

_LONGEST_NAME = 256
_LEGAL_VALUE = "A-Za-z0-9~!@#$%^&*()_+=`.?|:/{}<>'-"  # WebOb's
_PAIR = re.compile(
    rf"([!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,{_LONGEST_NAME}}})[ \t]*=[ \t]*"
    rf"""("(?:[^\\"]|\\.)*"|[{_LEGAL_VALUE}]*)"""
)
_LEGAL = b";" + bytes(each for each in range(128) if re.match(f"[{_LEGAL_VALUE}]", chr(each)))
"""The characters of a ``Cookie`` header that needs no repair, except spaces."""

_set_cookie = lru_cache(maxsize=256)(make_cookie)
"""Cached, because many requests write the same cookie after a renewal."""


class SessionTooLarge(ValueError):
    """The token needs more cookies than a server would accept."""


class Candidates(NamedTuple):
    """What a ``Cookie`` header holds under our name.

    ``candidates``: the texts that may be a complete token, the most likely one first. ``names``:
    the names of cookies that are ours, whatever their values.
    """

    candidates: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Candidates({', '.join(self.names)})"


def readable(header: str) -> str:
    """Repair a ``Cookie`` header, so that WebOb can parse it safely.

    WebOb's parser has two weaknesses:

    - Text that is not ``name=value`` takes quadratic time: half a minute for 60 KB, while it holds
      the interpreter's lock.
    - If one value is not UTF-8 (``x="\\377"``), no cookie can be read. The browser sends that
      cookie with every request until it expires.

    So such text and such cookies are left out. Each value ends where WebOb would stop reading it.

    :param header: any text, decoded as latin-1.
    :returns: a header in which WebOb finds the other cookies, with the values that it would find
        in the original.
    """
    plain = header.encode("latin-1", "replace").translate(None, _LEGAL) == b" " * header.count("; ")
    if plain and all(0 < pair.find("=") <= _LONGEST_NAME for pair in header.split(";")):
        return header
    pairs = (_PAIR.match(pair.strip(" \t")) for pair in header.split(";"))
    return "; ".join(f"{pair[1]}={pair[2]}" for pair in pairs if pair and _is_text(pair[2]))


def _is_text(value: str) -> bool:
    """Whether WebOb can decode a value as UTF-8."""
    if "\\" in value or not value.isascii():
        try:
            dict(RequestCookies({"HTTP_COOKIE": f"x={value}"}))
        except UnicodeDecodeError:
            return False
    return True


@dataclass(frozen=True)
class SessionCookie:
    """The session cookie: its name and attributes (RFC 6265 section 4.1).

    :param domain: the browser sends the cookie to this domain and its subdomains. If it is None,
        the browser sends the cookie to this host only.
    :param samesite: ``Lax``, ``Strict`` or ``None``.
    """

    name: str
    secure: bool
    domain: str | None = None
    samesite: str = "Lax"

    @staticmethod
    def default_name(*, secure: bool, domain: str | None) -> str:
        """The name of the cookie if the settings name none.

        Its prefix makes browsers refuse such a cookie from insecure pages, and ``__Host-`` also
        from sibling domains (RFC 6265bis section 4.1.3).
        """
        prefix = "" if not secure else "__Secure-" if domain else "__Host-"
        return f"{prefix}authapp.session"

    @staticmethod
    def valid_name(name: str) -> bool:
        """Whether ``name`` can be the name of a cookie (RFC 6265 section 4.1.1)."""
        return _NAME.match(name) is not None

    def read(self, header: str) -> Candidates:
        """Find our cookies in a ``Cookie`` header.

        A header may hold more than one token of ours:

        - the same name twice, set for another path or by a sibling domain,
        - a complete token and chunks,
        - chunks that are left from a longer token.

        So this returns a bounded number of candidates. The caller decrypts each: one that was
        joined from chunks of different tokens does not decrypt.
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
        """The index of the chunk with this cookie name (``<name>.0`` to ``<name>.99``), or None."""
        base, _, index = name.rpartition(".")
        return int(index) if base == self.name and _INDEX.fullmatch(index) else None

    def write(self, token: str, max_age: int, names: Collection[str] = ()) -> list[str]:
        """Store a token in the browser.

        :param max_age: seconds from now until the browser drops the cookies.
        :param names: the names of our cookies in the request. Those that are no longer used are
            cleared.
        :returns: values for ``Set-Cookie`` headers.
        :raises SessionTooLarge: if the token needs more than :data:`MAX_CHUNKS` cookies.
        """
        parts = [token[at : at + CHUNK_LENGTH] for at in range(0, len(token), CHUNK_LENGTH)]
        if len(parts) > MAX_CHUNKS:
            raise SessionTooLarge(f"an encrypted session of {len(token)} bytes does not fit")
        if len(parts) == 1:
            values = {self.name: token}
        else:
            values = {f"{self.name}.{index}": part for index, part in enumerate(parts)}
        written = [self._cookie(name, value, max_age) for name, value in values.items()]
        replaced = [name for name in names if name in values]
        unused = [name for name in names if name not in values]
        return self._clear_host_only(replaced) + written + self.clear(unused)

    def clear(self, names: Iterable[str]) -> list[str]:
        """Remove cookies from the browser.

        :returns: values for ``Set-Cookie`` headers.
        """
        names = tuple(names)
        return self._clear_host_only(names) + [self._cookie(name, None, 0) for name in names]

    def _clear_host_only(self, names: Iterable[str]) -> list[str]:
        """Clear cookies from before ``domain`` was set. The browser would send them too."""
        return replace(self, domain=None).clear(names) if self.domain else []

    def owns(self, set_cookie: str) -> bool:
        """Whether a ``Set-Cookie`` value sets a cookie of ours."""
        name = set_cookie.partition("=")[0]
        return name == self.name or self._chunk_index(name) is not None

    def _cookie(self, name: str, value: str | None, max_age: int) -> str:
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
