"""The successors of spent refresh tokens.

The store keeps the outcome of a renewal under the refresh token that the renewal spent. A request
that still has the old cookie finds the new session under that token. If the backend rotates
refresh tokens, the successors form a chain.

A browser may send the old cookie for long: the response with the new cookie can be lost, or a
slower response of another application can write the old cookie again. So a successor is needed
until these two are true (contract section 3):

- A request has brought the new cookie, or an hour has passed.
- The old access token has expired.

Then the store keeps the successor for ``refresh.reuse`` seconds more.
"""

import json
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import lru_cache

from authapp.renewal.outcomes import Outcome, Rejected, Renewed, Unavailable
from authapp.renewal.revocation import is_revoked, revocation_keys
from authapp.request_log import request_log
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.store.protocol import Key, Lease, Store

log = request_log(__name__)

_RECALLED_FOR = 0.25
"""A process recalls a successor for this many seconds, because browsers often send a burst of
requests with the old cookie."""

_MOST_RECALLED = 1024
"""A process recalls the successors of at most this many sessions."""

_KEPT_UNTIL_BROUGHT = 3600.0
"""Seconds for which the store keeps a successor if no request has brought its cookie."""

_MOST_AWAITED = 10_000
"""A process remembers at most this many successors whose cookie no request has brought yet. If
there are more, the process forgets the oldest one, and the store keeps it for a whole hour."""


@dataclass(frozen=True)
class Known:
    """What the store knows about a session, read with one command.

    :param revoked: True if the session was signed out.
    :param successor: the outcome of the renewal that spent the session's refresh token, or None.
    :param failed: the reason why the last renewal failed. None if the session may be renewed now.
        After a failure, the session may be renewed again after one second, or after the backend's
        ``Retry-After``.
    :param others: the strings under the further keys that the caller of
        :meth:`Successors.look_up` has named.
    """

    revoked: bool
    successor: Session | Rejected | None
    failed: str | None
    others: tuple[str | None, ...] = field(default=(), repr=False)

    @property
    def anything(self) -> bool:
        """True if the store has a revocation, a successor or a failure for the session."""
        return self.revoked or self.successor is not None or self.failed is not None


class Successors:
    """The outcomes of renewals, in the store.

    :param store: the store that all processes share.
    :param reuse: the store keeps a successor for this many seconds longer than it is needed
        (``refresh.reuse``).
    """

    def __init__(self, store: Store, reuse: float) -> None:
        self._store = store
        self._reuse = reuse
        self._awaited: dict[str, tuple[Session, Session]] = {}
        self._lock = threading.Lock()
        self._found: dict[tuple[object, ...], tuple[float, Known]] = {}

    def look_up(self, session: Session, *others: Key) -> Known:
        """Return what the store knows about a session.

        :param others: further keys to read with the same command.
        """
        keys = _key(session), _failed_key(session), *revocation_keys(session)
        successor, failed, *rest = self._store.get(*keys, *others)
        revoked = rest[: len(keys) - 2]
        return Known(
            revoked=is_revoked(session, *revoked),
            successor=_successor_in(session, successor),
            failed=failed,
            others=tuple(rest[len(revoked) :]),
        )

    def recall(self, session: Session) -> Known:
        """Return what the store knows about a session. Its ``successor`` is the end of the chain.

        If this process has found a successor in the last 0.25 seconds, it does not ask the store
        again. The result, including ``revoked``, may then be a little out of date: see
        :meth:`authapp.store.protocol.Store.recall`. So use :meth:`look_up` instead before you spend
        a token or write a cookie.
        """
        name = session.sid, session.tokens.refresh, session.issued_at, session.authenticated_at
        now = time.monotonic()
        found_at, known = self._found.get(name, (0.0, None))
        if known is not None and now - found_at < _RECALLED_FOR:
            marks = self._store.recall(*revocation_keys(session))
            return replace(known, revoked=is_revoked(session, *marks))
        known = self.look_up(session)
        if known.successor is None:
            return known
        known = replace(known, successor=self.newest(session))
        # Do not recall a session that was signed out: if Redis goes down now, this process cannot
        # read the revocation again. Do not recall a session that is its own successor: its backend
        # returns the same refresh token at each renewal. So the next renewal stores a newer
        # successor under the same key.
        if not known.revoked and known.successor is not session:
            if len(self._found) >= _MOST_RECALLED:
                self._found.clear()
            self._found[name] = now, known
        return known

    def newest(self, session: Session) -> Session | Rejected:
        """Return the end of a session's successor chain: a session, or a rejection.

        If the session has no successor, the session itself is returned.
        """
        newest, seen = session, set[str]()
        # If a backend does not rotate its refresh tokens, the chain is a circle.
        while newest.tokens.refresh not in seen:
            seen.add(newest.tokens.refresh)
            known = _successor_in(newest, *self._store.get(_key(newest)))
            if known is None:
                break
            if isinstance(known, Rejected):
                return known
            newest = known
        return session if newest.tokens == session.tokens else newest

    def lease(self, session: Session) -> AbstractContextManager[Lease]:
        """Try to become the only process that spends a session's refresh token."""
        return self._store.lease(_key(session))

    def may_spend_in(self, session: Session, lease: Lease) -> float:
        """Return the seconds until this process may spend a session's refresh token.

        Call :meth:`look_up` first, and then this method. If this method returns 0, all processes
        had stored their outcomes before :meth:`look_up` read them, unless the lease is ``ALONE``.

        :param lease: the lease of the token.
        :returns: 0 if the process may spend the token now. Infinity if the time is not known.
        """
        known = {Lease.ALONE: 0.0, Lease.UNSURE: float("inf")}
        return known[lease] if lease in known else self._store.settles_in(_key(session))

    def exclusive(self, lease: Lease, seconds: float) -> bool:
        """Return True if no other process can have spent the token.

        :param lease: the lease that this process had when it spent the token.
        :param seconds: the longest time that a call of the backend can take, in seconds.
        """
        return lease is Lease.MINE and self._store.remembers(seconds)

    def keep(self, session: Session, outcome: Outcome) -> None:
        """Store an outcome under the refresh token that was spent.

        An ``Unavailable`` is stored here only if it has a new refresh token. The failure itself is
        stored by :meth:`keep_failure`.
        """
        match outcome:
            # If the store has to merge two strings, it keeps the greater string. A later successor
            # has a greater string than an earlier successor, and each successor has a greater
            # string than a rejection.
            case Rejected(code, reason):
                text = json.dumps({"code": code, "reason": reason})
                self._store.put(_key(session), text, self._reuse)
            case Renewed(successor) | Unavailable(successor) if successor is not session:
                self._await(session, successor)
                self._keep_successor(session, successor, _KEPT_UNTIL_BROUGHT)

    def brought(self, session: Session) -> None:
        """Record that the cookie of a request contains this session.

        So the browser has the new cookie, and the entry that leads from the old cookie to this
        session is needed for a shorter time. Only the process that has stored the entry shortens
        this time. If only other processes receive the new cookie, the entry is kept for an hour.
        """
        spent, successor = self._awaited.get(session.sid, (session, None))
        if successor is not None and successor.tokens == session.tokens:
            with self._lock:
                self._awaited.pop(session.sid, None)
            self._keep_successor(spent, successor, 0)

    def _await(self, session: Session, successor: Session) -> None:
        """Record that no request has brought a successor yet."""
        if successor.tokens.refresh == session.tokens.refresh:
            return  # later successors have the same key, so this one must not be stored again
        with self._lock:
            self._awaited[session.sid] = (session, successor)
            if len(self._awaited) > _MOST_AWAITED:
                del self._awaited[next(iter(self._awaited))]

    def _keep_successor(self, session: Session, successor: Session, seconds: float) -> None:
        """Store a successor for ``seconds``, or until the old access token expires, if later.

        After the old refresh token has expired, the old session has ended and needs no successor.
        So this expiry limits the time. Then ``refresh.reuse`` is added.
        """
        known = {"renewed": successor.issued_at, "session": successor.to_claims()}
        now, old = time.time(), session.validity
        needed = min(max(seconds, old.valid_until - now), max(0, old.refresh_until - now))
        self._store.put(_key(session), json.dumps(known), needed + self._reuse)

    def keep_failure(self, session: Session, reason: str, seconds: float) -> None:
        """Store a failure, so that no request renews this session in the next ``seconds``."""
        self._store.put(_failed_key(session), reason, seconds)


def _successor_in(session: Session, text: str | None) -> Session | Rejected | None:
    """Read the outcome that is stored under a session's refresh token.

    A backend may return the same refresh token at each renewal. The session that is stored under
    this token can then be older than ``session``, or be another session of the user.

    :returns: the successor or the rejection. None if nothing is stored, or if the stored session is
        not a successor of ``session``.
    """
    known = _read(text)
    if isinstance(known, Session) and known.tokens.refresh == session.tokens.refresh:
        return known if known.sid == session.sid and known.issued_at >= session.issued_at else None
    return known


@lru_cache(maxsize=1024)
def _read(text: str | None) -> Session | Rejected | None:
    """Parse the string that :meth:`Successors.keep` stored.

    The result is cached, so that all requests of a burst get the same object.

    :returns: the outcome, or None if there is no string or the string cannot be parsed.
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
            "SuccessorUnreadable: another version of authapp has stored the outcome of a renewal"
        )
        return None


def _key(session: Session) -> Key:
    """Return the key of a session's successor. The key contains the session's refresh token."""
    return Key("spent refresh token", session.tokens.refresh, str(session.identity.id))


def _failed_key(session: Session) -> Key:
    return Key("failed renewal", session.tokens.refresh, str(session.identity.id))
