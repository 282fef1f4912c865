"""Which session a ``Cookie`` header carries.

A browser sends the same header until its session is renewed, so what was found in one is
remembered, beside what :class:`authapp.sealing.Sealer` remembers of a token: other cookies
may change with every page.
"""

from functools import lru_cache
from typing import NamedTuple

from authapp.cookies import SessionCookie, legible
from authapp.sealing import CannotOpen, Sealer
from authapp.session import Session

REMEMBERED = 1024
"""How many headers are remembered, those that hold no session among them."""

LONGEST = 8192
"""Characters of the longest header that is remembered: what proxies let through."""


class Carried(NamedTuple):
    """What a ``Cookie`` header carries.

    ``names``: the cookie names that belong to us, whatever stands in them; ``session``: the
    session they hold, if they hold one that opens; ``older``: others of the same user.
    """

    names: tuple[str, ...] = ()
    session: Session | None = None
    older: tuple[Session, ...] = ()


class Carrier:
    """Opens the sessions in ``Cookie`` headers."""

    def __init__(self, cookie: SessionCookie, sealer: Sealer) -> None:
        self._cookie = cookie
        self._sealer = sealer
        #: Headers that came in lately, and what they carry.
        self.lately = lru_cache(maxsize=REMEMBERED)(self._open)

    def open(self, header: str) -> Carried:
        """What a header carries; of any text at all."""
        if self._cookie.name not in header:
            return Carried()
        return self.lately(header) if len(header) <= LONGEST else self._open(header)

    def _open(self, header: str) -> Carried:
        """The sessions among the texts that may be one.

        Where they belong to different users, somebody planted one of them, and none is used.
        """
        presented = self._cookie.read(legible(header))  # a value ends where WebOb would end it
        sessions: list[Session] = []
        for candidate in presented.candidates:
            try:
                sessions.append(self._sealer.open(candidate))
            except CannotOpen:
                continue
        if len({str(session.identity.id) for session in sessions}) != 1:
            return Carried(presented.names)
        newest, *older = sorted(sessions, key=lambda session: session.issued_at, reverse=True)
        return Carried(presented.names, newest, tuple(older))
