"""The successors of spent refresh tokens.

The outcome of a renewal is kept in the store under the refresh token that it spent. A request
that still carries the old cookie finds the new session there. Where a backend rotates refresh
tokens, successors form a chain.
"""

import json
import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

from authapp.renewal.outcomes import Outcome, Rejected, Renewed, Unavailable
from authapp.renewal.revocation import is_revoked, revocation_keys
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.store.protocol import Key, Lease, Store

log = logging.getLogger(__name__)

_CACHED_FOR = 0.25
"""Seconds for which the end of a chain is cached, for a burst of requests with one cookie."""

_KEPT_IF_LATE = 3600.0
"""Seconds for which the outcome of a late response is kept."""


@dataclass(frozen=True)
class Known:
    """What the store knows of a session, read with one command.

    ``revoked``: it was signed out. ``successor``: the outcome of the renewal that spent its
    refresh token. ``failed``: why a renewal failed within the last second or so.
    """

    revoked: bool
    successor: Session | Rejected | None
    failed: str | None

    @property
    def anything(self) -> bool:
        """Whether there is an outcome, so that no request has to wait for one."""
        return self.revoked or self.successor is not None or self.failed is not None


class Successors:
    """The outcomes of renewals, in the store.

    :param reuse: seconds for which the successor of a spent token is kept.
    """

    def __init__(self, store: Store, reuse: float) -> None:
        self._store = store
        self._reuse = reuse
        self._newest_cached = lru_cache(maxsize=1024)(self._newest_at)

    def look_up(self, session: Session) -> Known:
        """What the store knows of a session right now."""
        *revoked, successor, failed = self._store.get(
            *revocation_keys(session.sid, session.identity.id), _key(session), _failed_key(session)
        )
        return Known(
            revoked=is_revoked(session, *revoked),
            successor=_successor_in(session, successor),
            failed=failed,
        )

    def newest(self, session: Session) -> Session | Rejected:
        """The end of the chain of successors of a session; the session itself if it has none."""
        newest, seen = session, set[str]()
        # A backend that does not rotate its refresh tokens makes a chain that is a circle.
        while newest.tokens.refresh not in seen:
            seen.add(newest.tokens.refresh)
            known = _successor_in(newest, *self._store.get(_key(newest)))
            if known is None:
                break
            if isinstance(known, Rejected):
                return known
            newest = known
        return session if newest.tokens == session.tokens else newest

    def newest_cached(self, session: Session) -> Session | Rejected:
        """As :meth:`newest`, but cached for a quarter of a second.

        Before a token is spent or a cookie is written, :meth:`newest` is asked.
        """
        return self._newest_cached(session, int(time.monotonic() / _CACHED_FOR))

    def _newest_at(self, session: Session, moment: int) -> Session | Rejected:
        return self.newest(session)

    def lease(self, session: Session) -> AbstractContextManager[Lease]:
        """Try to be the only process that spends a session's refresh token."""
        return self._store.lease(_key(session))

    def exclusive(self, lease: Lease, seconds: float) -> bool:
        """Whether no other process can have spent the token without this one knowing.

        :param lease: the lease under which this process spent it.
        :param seconds: how long a call of the backend can take.
        """
        return lease is Lease.MINE and self._store.remembers(seconds)

    def keep(self, session: Session, outcome: Outcome, *, late: bool = False) -> None:
        """Keep an outcome under the token that was spent for it. A failure is not kept.

        :param late: no browser has the outcome yet, and the next request may take a while.
        """
        seconds = self._reuse
        match outcome:
            # When two texts are merged the greater wins: a later successor before an earlier
            # one, and any successor before a rejection.
            case Rejected(code, reason):
                text = json.dumps({"code": code, "reason": reason})
            case Renewed(successor) | Unavailable(successor) if successor is not session:
                known = {"renewed": successor.issued_at, "session": successor.to_claims()}
                text = json.dumps(known)
                seconds = max(seconds, _KEPT_IF_LATE) if late else seconds
            case _:
                return
        self._store.put(_key(session), text, seconds)

    def keep_failure(self, session: Session, reason: str, seconds: float) -> None:
        """A renewal failed: no request tries it again within so many seconds."""
        self._store.put(_failed_key(session), reason, seconds)


def _successor_in(session: Session, text: str | None) -> Session | Rejected | None:
    """The outcome in a text that is kept under a session's refresh token.

    A backend that returns the same refresh token again makes us keep outcomes from before this
    session began, or of another session of the user, under that token. They are not successors.
    """
    known = _read(text)
    if isinstance(known, Session) and known.tokens.refresh == session.tokens.refresh:
        return known if known.sid == session.sid and known.issued_at >= session.issued_at else None
    return known


@lru_cache(maxsize=1024)
def _read(text: str | None) -> Session | Rejected | None:
    """The outcome that :meth:`Successors.keep` wrote. All requests of a burst get one value.

    :returns: None for no text, and for the text of another version of authapp.
    """
    if text is None:
        return None
    try:
        known = json.loads(text)
        if "code" in known:
            return Rejected(ErrorCode(known["code"]), known["reason"])
        return Session.from_claims(known["session"])
    except (ValueError, KeyError, TypeError):
        log.warning(
            "SuccessorUnreadable: another version of authapp wrote the outcome of a renewal"
        )
        return None


def _key(session: Session) -> Key:
    """Where the successor of a session is kept: under the refresh token that was spent."""
    return Key("spent refresh token", session.tokens.refresh)


def _failed_key(session: Session) -> Key:
    return Key("failed renewal", session.tokens.refresh)
