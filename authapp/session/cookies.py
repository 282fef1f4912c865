"""A sealed token as cookies, and back: names, prefixes, chunks.

The ``Cookie`` header is scanned for our own name only: parsing all of it costs more than
opening the session does.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from webob.cookies import RequestCookies, make_cookie

CSRF_COOKIE = "authapp.csrf"
"""The name of the CSRF cookie: the session cookie must have another one."""

CHUNK_LENGTH = 3900
"""Characters of a token in one cookie; browsers take 4,096 bytes with the name."""

MAX_CHUNKS = 3
"""Servers read some 8 to 16 KB of headers; more would be written and then lost."""

_NAME = re.compile(r"\A(?!\$)[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}\Z")

_INDEX = re.compile("0|[1-9][0-9]?")

_NAMESAKES = 5
"""How many values of one name are looked at: a sibling domain can set some of them."""

_NAMES = 10
"""How many cookies are cleared by one response: proxies take some 4 KB of headers."""

_LONGEST_NAME = 256
_LEGAL_VALUE = "A-Za-z0-9~!@#$%^&*()_+=`.?|:/{}<>'-"  # WebOb's
_PAIR = re.compile(
    rf"([!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,{_LONGEST_NAME}}})[ \t]*=[ \t]*"
    rf"""("(?:[^\\"]|\\.)*"|[{_LEGAL_VALUE}]*)"""
)
_LEGAL = b";" + bytes(each for each in range(128) if re.match(f"[{_LEGAL_VALUE}]", chr(each)))
"""What stands in a ``Cookie`` header without anything odd in it, but for blanks."""


_set_cookie = lru_cache(maxsize=256)(make_cookie)
"""After a renewal, many requests at once write the same cookie."""


class SessionTooLarge(ValueError):
    """A sealed session that no browser would bring back."""


class Candidates(NamedTuple):
    """What a request's ``Cookie`` header holds under our name.

    ``candidates``: the texts that may be a whole token, the likeliest first; ``names``: the
    cookie names that belong to us, whatever stands in them.
    """

    candidates: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Candidates({', '.join(self.names)})"


def readable(header: str) -> str:
    """A ``Cookie`` header in which WebOb finds what it finds, without coming to harm.

    WebOb's parser takes quadratic time over what is no ``name=value`` (half a minute for
    60 KB, with the interpreter's lock held), and fails on all cookies when one of them is
    no UTF-8 (``x="\\377"``), for as long as the browser keeps that one. So pairs that are
    none are left out, and a value ends where WebOb would stop reading it.
    """
    plain = header.encode("latin-1", "replace").translate(None, _LEGAL) == b" " * header.count("; ")
    if plain and all(0 < pair.find("=") <= _LONGEST_NAME for pair in header.split(";")):
        return header
    pairs = (_PAIR.match(pair.strip(" \t")) for pair in header.split(";"))
    return "; ".join(f"{pair[1]}={pair[2]}" for pair in pairs if pair and _is_text(pair[2]))


def _is_text(value: str) -> bool:
    if "\\" in value or not value.isascii():
        try:
            dict(RequestCookies({"HTTP_COOKIE": f"x={value}"}))
        except UnicodeDecodeError:
            return False
    return True


@dataclass(frozen=True)
class SessionCookie:
    """Where a session lives in the browser: name and attributes."""

    name: str
    secure: bool
    domain: str | None = None
    samesite: str = "Lax"

    @staticmethod
    def default_name(*, secure: bool, domain: str | None) -> str:
        """The name with the prefix that makes browsers hold others off it (RFC 6265bis)."""
        prefix = "" if not secure else "__Secure-" if domain else "__Host-"
        return f"{prefix}authapp.session"

    @staticmethod
    def valid_name(name: str) -> bool:
        """Whether ``name`` is a token in the sense of RFC 6265 section 4.1.1."""
        return _NAME.match(name) is not None

    def read(self, header: str) -> Candidates:
        """Find our cookie in a ``Cookie`` header.

        A name can come more than once (another path, a sibling domain), a whole token
        beside chunks, and chunks left over from a longer one. So candidates are offered,
        a bounded number of them, and the seal decides: a mixture never opens.
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
        candidates = dict.fromkeys((*whole[: _NAMESAKES - 1], *whole[-1:]))
        for pick in (0, -1) if chunks else ():
            joined = ""
            for index in range(MAX_CHUNKS):
                if index not in chunks:
                    break
                joined += chunks[index][pick]
                candidates[joined] = None
        return Candidates(tuple(candidates), tuple(names)[:_NAMES])

    def _chunk_index(self, name: str) -> int | None:
        """Which chunk a cookie name stands for, if any: ``<name>.0`` to ``<name>.99``."""
        base, _, index = name.rpartition(".")
        return int(index) if base == self.name and _INDEX.fullmatch(index) else None

    def write(self, token: str, max_age: int, names: Collection[str] = ()) -> list[str]:
        """``Set-Cookie`` values that store a token.

        :param max_age: seconds from now.
        :param names: those the request brought; what is no longer used is cleared.
        :raises SessionTooLarge: when it takes more than :data:`MAX_CHUNKS` cookies.
        """
        parts = [token[at : at + CHUNK_LENGTH] for at in range(0, len(token), CHUNK_LENGTH)]
        if len(parts) > MAX_CHUNKS:
            raise SessionTooLarge(f"a sealed session of {len(token)} bytes does not fit")
        if len(parts) == 1:
            values = {self.name: token}
        else:
            values = {f"{self.name}.{index}": part for index, part in enumerate(parts)}
        written = [self._cookie(name, value, max_age) for name, value in values.items()]
        namesakes = [name for name in names if name in values]
        gone = self.clear(name for name in names if name not in values)
        return self._clear_for_this_host(namesakes) + written + gone

    def clear(self, names: Iterable[str]) -> list[str]:
        """``Set-Cookie`` values that take cookies away."""
        names = tuple(names)
        return self._clear_for_this_host(names) + [self._cookie(name, None, 0) for name in names]

    def _clear_for_this_host(self, names: Iterable[str]) -> list[str]:
        """Namesakes without a domain, from before one was set: they would be sent as well."""
        return replace(self, domain=None).clear(names) if self.domain else []

    def owns(self, set_cookie: str) -> bool:
        """Whether a ``Set-Cookie`` value is one of ours."""
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
