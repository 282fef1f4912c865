"""Sessions that were ended before their time: by a sign-out here or anywhere.

A revocation is remembered for as long as a copy of the session, or a renewal that was under
way when it ended, could still come in.
"""

from functools import lru_cache

from authapp.session import Session
from authapp.shared import Key, Shared

_NEVER = float("-inf")

CLOCKS_DIFFER = 60.0
"""Seconds by which the clocks of machines that share sessions may differ."""

REPLACED = 60.0
"""Seconds after a sign-in for which answers to earlier requests may still come."""


class Revocation:
    """The ended sessions, in shared memory.

    :param lifetime: seconds for which a refresh token lives at the least.
    """

    def __init__(self, shared: Shared, lifetime: float) -> None:
        self._shared = shared
        self._lifetime = lifetime

    def revoke(self, session: Session) -> None:
        """End this session, and every copy and successor of it."""
        key, _ = revocation_keys(session.sid, session.identity.id)
        self._shared.put(key, "1", self._window(session))

    def replace(self, session: Session) -> None:
        """End this session, as another takes its place in the browser."""
        # First: whoever sees that it has ended asks whether it was replaced.
        self._shared.put(_replaced_key(session), "1", REPLACED)
        self.revoke(session)

    def replaced(self, session: Session) -> bool:
        """Whether that was a moment ago: the cookie may hold the other session by now."""
        return self._shared.get(_replaced_key(session)) != [None]

    def revoke_user(self, session: Session, now: float) -> None:
        """End all sessions of this session's user that began until ``now``, by any clock."""
        self.revoke(session)
        key = _user_key(session.identity.id)
        ended = max(now + CLOCKS_DIFFER, session.authenticated_at, _moment(*self._shared.get(key)))
        # Of two moments the later is the greater text until the year 2286, and counts.
        self._shared.put(key, repr(ended), self._window(session))

    def revoked(self, session: Session) -> bool:
        """Whether this session was ended."""
        keys = revocation_keys(session.sid, session.identity.id)
        return has_ended(session, *self._shared.get(*keys))

    def next_start(self, user_id: int | str, now: float) -> float:
        """The beginning to give a session that is made now, in epoch seconds.

        It is later than the user's last :meth:`revoke_user`, which does not end it therefore,
        even if that came from a machine whose clock is ahead of ours.
        """
        ended = _moment(*self._shared.get(_user_key(user_id)))
        return now if now > ended else ended + 0.001

    def _window(self, session: Session) -> float:
        """How long a renewal under way right now can make this session live, in seconds."""
        return max(self._lifetime, session.validity.refresh_until - session.issued_at)


@lru_cache(maxsize=4096)
def revocation_keys(sid: str, user_id: int | str) -> tuple[Key, Key]:
    """What to ask shared memory for, to know whether a session of a user was ended.

    :returns: where that of the session alone stands, and that of all of the user's.
    """
    return Key("revoked session", sid), _user_key(user_id)


def has_ended(session: Session, alone: str | None, all_of_user: str | None) -> bool:
    """Whether a session was ended, by the texts under its :func:`revocation_keys`."""
    return alone is not None or session.authenticated_at <= _moment(all_of_user)


def _replaced_key(session: Session) -> Key:
    return Key("replaced session", session.sid)


def _user_key(user_id: int | str) -> Key:
    return Key("revoked user", str(user_id))


def _moment(text: str | None) -> float:
    return float(text) if text else _NEVER
