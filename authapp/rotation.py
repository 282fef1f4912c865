"""Which tokens succeeded a spent refresh token, as far as those who share memory know.

What comes of a renewal is remembered for a while under the token it spent, so that a request
with the old cookie finds the successor. Where a backend rotates, successors make a chain.
"""

import json
import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

from authapp.errors import RETRY_AFTER, ErrorCode
from authapp.revocation import has_ended, revocation_keys
from authapp.session import Session
from authapp.shared import Key, Lease, Shared

log = logging.getLogger(__name__)

_LATELY = 0.25
"""Seconds for which the end of a chain of successors is taken for granted by a burst."""

_KEPT = 3600.0
"""Seconds for which an answer that came late is remembered."""


@dataclass(frozen=True)
class Renewed:
    """The session goes on as this one.

    ``asked`` is true for the one request that asked the backend for it.
    """

    session: Session
    asked: bool = False


@dataclass(frozen=True)
class Rejected:
    """The session has ended, and why. ``asked`` as in :class:`Renewed`."""

    code: ErrorCode
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class Unavailable:
    """Nobody could say; the session is kept, nothing is lost. Try again in some seconds."""

    session: Session
    reason: str
    retry_after: float = RETRY_AFTER
    asked: bool = False


Outcome = Renewed | Rejected | Unavailable
"""What comes of a renewal."""


@dataclass(frozen=True)
class Remembered:
    """What shared memory has of a session, asked in one go.

    ``ended``: it was signed out. ``followed``: what came of the renewal that spent its refresh
    token. ``failed``: why a renewal came to nothing a moment ago.
    """

    ended: bool
    followed: Session | Rejected | None
    failed: str | None

    @property
    def tells(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.ended or self.followed is not None or self.failed is not None


class Rotation:
    """The spent refresh tokens, in shared memory.

    :param reuse: seconds for which the successor of a spent token is remembered.
    """

    def __init__(self, shared: Shared, reuse: float) -> None:
        self._shared = shared
        self._reuse = reuse
        self._newest_lately = lru_cache(maxsize=1024)(self._newest_at)

    def remembered(self, session: Session) -> Remembered:
        """What those who share memory know of a session right now."""
        *ended, followed, failed = self._shared.get(
            *revocation_keys(session.sid, session.identity.id), _key(session), _failed_key(session)
        )
        return Remembered(
            ended=has_ended(session, *ended),
            followed=_followed(session, followed),
            failed=failed,
        )

    def newest(self, session: Session) -> Session | Rejected:
        """The end of the chain of successors that begins with a session.

        The session itself, where none is remembered.
        """
        newest, seen = session, set[str]()
        # A backend that does not rotate, or takes turns, gives a token that was seen already.
        while newest.tokens.refresh not in seen:
            seen.add(newest.tokens.refresh)
            known = _followed(newest, *self._shared.get(_key(newest)))
            if known is None:
                break
            if isinstance(known, Rejected):
                return known
            newest = known
        return session if newest.tokens == session.tokens else newest

    def newest_lately(self, session: Session) -> Session | Rejected:
        """:meth:`newest`, asked once a moment by a burst of requests with one old cookie.

        Whoever is to spend a token, or to write a cookie, looks again.
        """
        return self._newest_lately(session, int(time.monotonic() / _LATELY))

    def _newest_at(self, session: Session, moment: int) -> Session | Rejected:
        return self.newest(session)

    def lease(self, session: Session) -> AbstractContextManager[Lease]:
        """Be the only process that spends a session's refresh token."""
        return self._shared.lease(_key(session))

    def alone(self, lease: Lease, seconds: float) -> bool:
        """Whether nobody else can have spent a token unseen.

        :param lease: what came of asking to be the only one.
        :param seconds: after which whoever may have spent it has an answer, or none.
        """
        return lease is Lease.MINE and self._shared.remembers(seconds)

    def remember(self, session: Session, outcome: Outcome, *, late: bool = False) -> None:
        """Keep an answer under the token it was given for; that there was none is not kept.

        :param late: no browser has it yet, and the one that is to may be away for a while.
        """
        seconds = self._reuse
        match outcome:
            # Where texts meet the greatest counts: a later successor, or any; it was not rejected.
            case Rejected(code, reason):
                text = json.dumps({"code": code, "reason": reason})
            case Renewed(successor) | Unavailable(successor) if successor is not session:
                known = {"renewed": successor.issued_at, "session": successor.to_claims()}
                text = json.dumps(known)
                seconds = max(seconds, _KEPT) if late else seconds
            case _:
                return
        self._shared.put(_key(session), text, seconds)

    def failed(self, session: Session, reason: str, seconds: float) -> None:
        """A renewal came to nothing; for so many seconds nobody tries it again."""
        self._shared.put(_failed_key(session), reason, seconds)


def _followed(session: Session, text: str | None) -> Session | Rejected | None:
    """What came of the renewal that spent a session's refresh token, if any is remembered.

    A backend that gives the same refresh token again has what was remembered before this
    session began under it too, or of another session of the user; that is no successor.
    """
    known = _recall(text)
    if isinstance(known, Session) and known.tokens.refresh == session.tokens.refresh:
        return known if known.sid == session.sid and known.issued_at >= session.issued_at else None
    return known


@lru_cache(maxsize=1024)
def _recall(text: str | None) -> Session | Rejected | None:
    """What :meth:`Rotation.remember` has put; the same value for all who ask in a burst.

    :returns: None for nothing, and for what another version of authapp has put.
    """
    if text is None:
        return None
    try:
        known = json.loads(text)
        if "code" in known:
            return Rejected(ErrorCode(known["code"]), known["reason"])
        return Session.from_claims(known["session"])
    except (ValueError, KeyError, TypeError):
        log.warning("RenewalForgotten: what is remembered of a renewal cannot be read")
        return None


def _key(session: Session) -> Key:
    """Where the successor of a session is remembered: under the refresh token it spent."""
    return Key("spent refresh token", session.tokens.refresh)


def _failed_key(session: Session) -> Key:
    return Key("failed renewal", session.tokens.refresh)
