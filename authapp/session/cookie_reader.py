"""Read the session from a ``Cookie`` header.

There are two caches. The cache of this module has the whole header as its key, because a browser
usually sends the same header until its session is renewed. But other cookies in the header may
change with every request. Then the cache of :class:`authapp.session.encryption.Sealer` helps: its
key is the encrypted session.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from authapp.session.cookies import CACHED, LONGEST, SessionCookie, readable
from authapp.session.encryption import CannotOpen, Sealer
from authapp.session.session import Session
from authapp.session.session_limits import UNLIMITED, SessionLimits


class ReadCookie(NamedTuple):
    """The session in a ``Cookie`` header.

    :param names: the names of all session cookies in the header, even if their values are invalid.
        The chunks of a long session are included.
    :param session: the newest session in the header, or None.
    :param older: the other sessions in the header. All sessions belong to the same user.
    """

    names: tuple[str, ...] = ()
    session: Session | None = None
    older: tuple[Session, ...] = ()


class CookieReader:
    """Reads sessions from ``Cookie`` headers, with a cache.

    :param limits: the limits of sessions. The end of a session is never later than
        ``limits.absolute`` allows, even if the cookie contains a later end.
    """

    def __init__(
        self, cookie: SessionCookie, sealer: Sealer, limits: SessionLimits = UNLIMITED
    ) -> None:
        self._cookie = cookie
        self._sealer = sealer
        self._limits = limits
        #: Reads a header: :meth:`_read` with a cache.
        self.cached = lru_cache(maxsize=CACHED)(self._read)

    def read(self, header: str) -> ReadCookie:
        """Return the session in a ``Cookie`` header.

        :param header: any string.
        """
        if self._cookie.name not in header:
            return ReadCookie()
        return self.cached(header) if len(header) <= LONGEST else self._read(header)

    def _read(self, header: str) -> ReadCookie:
        """Decrypt the session cookies in a header.

        If the sessions belong to different users, an attacker may have planted one of the cookies.
        In this case no session is returned.
        """
        found = self._cookie.read(readable(header))  # each value ends as in WebOb
        sessions: list[Session] = []
        for candidate in found.candidates:
            try:
                session = self._sealer.open(candidate)
            except CannotOpen:
                continue
            validity = self._limits.limit(session.validity, session.authenticated_at)
            if validity is not session.validity:
                session = replace(session, validity=validity)
            sessions.append(session)
        if len({str(session.identity.id) for session in sessions}) != 1:
            return ReadCookie(found.names)
        newest, *older = sorted(sessions, key=lambda session: session.issued_at, reverse=True)
        return ReadCookie(found.names, newest, tuple(older))
