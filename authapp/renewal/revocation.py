"""Revocation: sessions that were signed out, here or by any process that shares the store.

A revocation is kept for as long as a copy of the session's cookie could come back, or a
renewal that was running at the sign-out could extend the session.
"""

from functools import lru_cache

from authapp.session.session import Session
from authapp.store.protocol import Key, Store

_NEVER = float("-inf")

CLOCKS_DIFFER = 60.0
"""Seconds by which the clocks of machines that share sessions may differ."""

REPLACED = 60.0
"""Seconds after a sign-in for which responses to earlier requests may still arrive."""


class Revocation:
    """The revoked sessions, in the store.

    :param lifetime: the shortest time in seconds for which a refresh token is valid.
    """

    def __init__(self, store: Store, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime

    def revoke(self, session: Session) -> None:
        """End this session, every copy of its cookie and every successor of it."""
        key, _ = revocation_keys(session.sid, session.identity.id)
        self._store.put(key, "1", self._window(session))

    def replace(self, session: Session) -> None:
        """End this session because another one takes its place in the browser."""
        # In this order: a request that sees the revocation then asks whether it was replaced.
        self._store.put(_replaced_key(session), "1", REPLACED)
        self.revoke(session)

    def replaced(self, session: Session) -> bool:
        """Whether the session was replaced within the last minute.

        If so, the browser's cookie may hold the other session already.
        """
        return self._store.get(_replaced_key(session)) != [None]

    def revoke_user(self, session: Session, now: float) -> None:
        """End all sessions of this session's user that began until ``now``, by any clock."""
        self.revoke(session)
        key = _user_key(session.identity.id)
        until = max(now + CLOCKS_DIFFER, session.authenticated_at, _moment(*self._store.get(key)))
        # Until the year 2286 the later of two moments is also the greater text, which wins.
        self._store.put(key, repr(until), self._window(session))

    def revoked(self, session: Session) -> bool:
        """Whether this session was revoked."""
        keys = revocation_keys(session.sid, session.identity.id)
        return is_revoked(session, *self._store.get(*keys))

    def next_start(self, user_id: int | str, now: float) -> float:
        """The moment of sign-in to give a new session, in epoch seconds.

        It is later than the user's last :meth:`revoke_user`, which therefore does not end the
        new session, even if it came from a machine whose clock is ahead of ours.
        """
        revoked_until = _moment(*self._store.get(_user_key(user_id)))
        return now if now > revoked_until else revoked_until + 0.001

    def _window(self, session: Session) -> float:
        """The longest time, in seconds, that a renewal running now can give this session."""
        return max(self._lifetime, session.validity.refresh_until - session.issued_at)


@lru_cache(maxsize=4096)
def revocation_keys(sid: str, user_id: int | str) -> tuple[Key, Key]:
    """The keys to ask the store for, to know whether a session was revoked.

    :returns: the key for this session alone, and the key for all sessions of the user.
    """
    return Key("revoked session", sid), _user_key(user_id)


def is_revoked(session: Session, alone: str | None, all_of_user: str | None) -> bool:
    """Whether a session was revoked, by the texts under its :func:`revocation_keys`."""
    return alone is not None or session.authenticated_at <= _moment(all_of_user)


def _replaced_key(session: Session) -> Key:
    return Key("replaced session", session.sid)


def _user_key(user_id: int | str) -> Key:
    return Key("revoked user", str(user_id))


def _moment(text: str | None) -> float:
    return float(text) if text else _NEVER
