"""Finds the session in a ``Cookie`` header.

A browser sends the same header until its session is renewed, so results are cached by header.
The cache of :class:`authapp.session.encryption.Sealer` goes by token: other cookies in the
header may change with every page.
"""

from functools import lru_cache
from typing import NamedTuple

from authapp.session.cookies import SessionCookie, readable
from authapp.session.encryption import CannotOpen, Sealer
from authapp.session.session import Session

CACHED = 1024
"""How many headers are cached, those without a session among them."""

LONGEST = 8192
"""Characters of the longest header that is cached. Proxies let through about as much."""


class ReadCookie(NamedTuple):
    """What a ``Cookie`` header holds.

    ``names``: the names of cookies that are ours, whatever their values. ``session``: the
    session that decrypts, if there is one. ``older``: further sessions of the same user.
    """

    names: tuple[str, ...] = ()
    session: Session | None = None
    older: tuple[Session, ...] = ()


class CookieReader:
    """Reads sessions from ``Cookie`` headers."""

    def __init__(self, cookie: SessionCookie, sealer: Sealer) -> None:
        self._cookie = cookie
        self._sealer = sealer
        #: As :meth:`_read`, for headers that came before.
        self.cached = lru_cache(maxsize=CACHED)(self._read)

    def read(self, header: str) -> ReadCookie:
        """What a header holds. Any text is allowed."""
        if self._cookie.name not in header:
            return ReadCookie()
        return self.cached(header) if len(header) <= LONGEST else self._read(header)

    def _read(self, header: str) -> ReadCookie:
        """Decrypt the candidates in a header.

        If they belong to different users, an attacker planted one of them. None is used then.
        """
        found = self._cookie.read(readable(header))  # values end where WebOb would end them
        sessions: list[Session] = []
        for candidate in found.candidates:
            try:
                sessions.append(self._sealer.open(candidate))
            except CannotOpen:
                continue
        if len({str(session.identity.id) for session in sessions}) != 1:
            return ReadCookie(found.names)
        newest, *older = sorted(sessions, key=lambda session: session.issued_at, reverse=True)
        return ReadCookie(found.names, newest, tuple(older))
