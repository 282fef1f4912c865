"""Revocation: the sessions that were signed out, in all processes that share the store.

The store keeps a revocation for as long as a copy of the session's cookie can be valid. This time
includes the extension by a renewal that may be running at sign-out.
"""

from functools import lru_cache

from authapp.session.session import Session
from authapp.store.protocol import Key, Store

_NEVER = float("-inf")

CLOCKS_DIFFER = 60.0
"""Seconds by which the clocks of machines that share a store may differ."""

REPLACED = 60.0
"""Seconds after a sign-in within which the browser may still receive earlier responses."""


class Revocation:
    """The revoked sessions, in the store.

    :param store: the store that all processes share.
    :param lifetime: the default lifetime of a refresh token, in seconds. The store keeps each
        revocation for at least this time.
    """

    def __init__(self, store: Store, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime

    def revoke(self, session: Session) -> None:
        """Revoke a session, all copies of its cookie and all its successors."""
        key, _ = revocation_keys(session.sid, session.identity.id)
        self._store.put(key, "1", self._window(session))

    def replace(self, session: Session) -> None:
        """Revoke a session because another session replaces it in the browser."""
        # In this order, a request that finds the revocation also finds the replacement.
        self._store.put(_replaced_key(session), "1", REPLACED)
        self.revoke(session)

    def replaced(self, session: Session) -> bool:
        """Return True if another session has replaced this session in the last 60 seconds.

        If True, do not clear the cookie, because the cookie may already contain the other session.
        """
        return self._store.get(_replaced_key(session)) != [None]

    def revoke_user(self, session: Session, now: float) -> None:
        """Revoke all sessions of this session's user that began until ``now``.

        :param now: epoch seconds. :data:`CLOCKS_DIFFER` seconds are added, because another machine
            whose clock is ahead may have recorded the sign-in.
        """
        self.revoke(session)
        self._revoke_all(session, now)

    def revoke_others(self, session: Session, now: float) -> None:
        """Revoke all sessions of this session's user that began until ``now``, but not this one.

        :param now: see :meth:`revoke_user`.
        """
        self._revoke_all(session, now, f" {session.sid}")

    def _revoke_all(self, session: Session, now: float, but: str = "") -> None:
        key = _user_key(session.identity.id)
        before = _moment(*self._store.get(key))
        until = max(now + CLOCKS_DIFFER, session.authenticated_at, before + 0.001)
        # A merge keeps the greatest string. Until the year 2286 all times have ten digits, so the
        # greatest string is the latest time.
        self._store.put(key, repr(until) + but, self._window(session))

    def revoked(self, session: Session) -> bool:
        """Return True if this session was revoked."""
        keys = revocation_keys(session.sid, session.identity.id)
        return is_revoked(session, *self._store.get(*keys))

    def next_start(self, user_id: int | str, now: float) -> float:
        """Return the sign-in time for a new session, in epoch seconds.

        The returned time is later than the user's last :meth:`revoke_user`. Otherwise that
        call would also revoke the new session if a machine whose clock is ahead made the call.
        """
        revoked_until = _moment(*self._store.get(_user_key(user_id)))
        return now if now > revoked_until else revoked_until + 0.001

    def _window(self, session: Session) -> float:
        """Return the longest time in seconds by which a running renewal can extend the session."""
        return max(self._lifetime, session.validity.refresh_until - session.issued_at)


@lru_cache(maxsize=4096)
def revocation_keys(sid: str, user_id: int | str) -> tuple[Key, Key]:
    """Return the keys of the strings that tell whether a session was revoked.

    :returns: the key for this session alone, and the key for all sessions of the user.
    """
    return Key("revoked session", sid), _user_key(user_id)


def is_revoked(session: Session, alone: str | None, all_of_user: str | None) -> bool:
    """Return True if a session was revoked.

    :param alone: the string under the first of the session's :func:`revocation_keys`, or None.
    :param all_of_user: the string under the second of these keys, or None.
    """
    if alone is not None:
        return True
    revoked = session.authenticated_at <= _moment(all_of_user)
    return revoked and (all_of_user or "").partition(" ")[2] != session.sid


def _replaced_key(session: Session) -> Key:
    return Key("replaced session", session.sid)


def _user_key(user_id: int | str) -> Key:
    return Key("revoked user", str(user_id))


def _moment(text: str | None) -> float:
    """Return the time in the string under a user's key: ``<time>`` or ``<time> <kept sid>``."""
    return float(text.partition(" ")[0]) if text else _NEVER
