"""Revocation: the sessions that were signed out, in all processes that share the store.

The store keeps a revocation until no copy of the session's cookie can be valid any more. A renewal
that is running at sign-out may extend the session, so this extension is included.
"""

from functools import lru_cache

from authapp.session.session import Session, TokenPair
from authapp.store.protocol import Key, Store

_NEVER = float("-inf")

_ELSEWHERE, _IN_ITS_BROWSER = "1", "0"
"""The two strings that the store may have for a revoked session. The first: the session was ended
from elsewhere. The second: its own browser ended the session, and so knows of the end."""

CLOCKS_DIFFER = 60.0
"""Seconds by which the clocks of machines that share a store may differ."""

REPLACED = 60.0
"""Seconds after a sign-in within which the browser may still receive responses to earlier requests.
"""


_GROUP_KEPT = 400 * 86_400.0
"""Seconds for which the store keeps the revocation of a group. The lifetimes of the group's
sessions are not known, but browsers keep no cookie for longer than this."""


class Revocation:
    """The revoked sessions, in the store.

    :param store: the store that all processes share.
    :param lifetime: the default lifetime of a refresh token, in seconds. The store keeps each
        revocation for at least this time.
    """

    def __init__(self, store: Store, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime

    def revoke(self, session: Session, *, elsewhere: bool = False) -> None:
        """Revoke a session, all copies of its cookie and all its successors.

        :param elsewhere: False if the session's own browser ends the session, and so knows that the
            session has ended. True if another browser or an operator ends the session.
        """
        key = revocation_keys(session)[0]
        text = _ELSEWHERE if elsewhere else _IN_ITS_BROWSER
        self._store.put(key, text, self._window(session), notify=True)

    def replace(self, session: Session) -> None:
        """Revoke a session because another session replaces it in the browser."""
        # In this order, a request that finds the revocation also finds the replacement.
        self._store.put(_replaced_key(session), "1", REPLACED)
        self.revoke(session)

    def replaced(self, session: Session) -> bool:
        """Return True if a sign-in has replaced this session in the last :data:`REPLACED` seconds.

        If True, do not clear the cookie, because it may already contain the new session.
        """
        return self._store.get(_replaced_key(session)) != [None]

    def revoke_user(self, session: Session, now: float) -> None:
        """Revoke all sessions of this session's user that began at or before ``now``.

        :param now: epoch seconds. This method adds :data:`CLOCKS_DIFFER` seconds, because another
            machine whose clock is ahead may have recorded the sign-in.
        """
        self.revoke(session)
        self._revoke_all(session, now, _user_key(session.identity.id))

    def revoke_others(self, session: Session, now: float) -> None:
        """Revoke the other sessions of this session's user that began at or before ``now``.

        This method and :meth:`revoke_user` use different keys. With the same key, this method could
        overwrite an earlier revocation that also revokes this session.

        :param now: see :meth:`revoke_user`.
        """
        self._revoke_all(session, now, _others_key(session.identity.id), f" {session.sid}")

    def _revoke_all(self, session: Session, now: float, key: Key, but: str = "") -> None:
        user_id = session.identity.id
        keys = _user_key(user_id), _others_key(user_id)
        before = max(map(_moment, self._store.get(*keys)))
        until = max(now + CLOCKS_DIFFER, session.authenticated_at, before + 0.001)
        # If the store has to merge strings, it keeps the greatest string. Until the year 2286 all
        # times have ten digits, so the greatest string is the latest time.
        self._store.put(key, repr(until) + but, self._window(session), notify=True)

    def revoke_group(self, group: str, now: float) -> None:
        """Revoke all sessions of a group that began at or before ``now``.

        :param group: one of :attr:`authapp.session.session.TokenPair.groups`.
        :param now: see :meth:`revoke_user`.
        """
        key = _group_key(group)
        # A session that began after an earlier revocation is revoked too: see next_start.
        until = max(now + CLOCKS_DIFFER, _moment(*self._store.get(key)) + 0.001)
        self._store.put(key, repr(until), max(self._lifetime, _GROUP_KEPT), notify=True)

    def ended_meanwhile(self, tokens: TokenPair, began: float) -> bool:
        """Return True if one of the groups of a new session was revoked while the user signed in.

        If the tokens have a ``sid``, a revocation of the group of this ``sid`` counts even if it is
        older than the sign-in. A provider never uses the ``sid`` of an ended session again, so the
        revocation must mean the new session.

        :param tokens: the tokens of the new session.
        :param began: when the sign-in began, in epoch seconds.
        """
        if not tokens.groups:
            return False
        of_sub, last = self._store.get(*map(_group_key, tokens.groups))
        if last is not None and "sid" in tokens.subject:
            return True
        return max(_moment(of_sub), _moment(last)) - CLOCKS_DIFFER >= began

    def revoked(self, session: Session) -> bool:
        """Return True if this session was revoked."""
        return is_revoked(session, *self._store.get(*revocation_keys(session)))

    def known_revoked(self, session: Session) -> bool:
        """Return True if this process knows that this session was revoked.

        If another process has revoked the session in the last moments, this process may not know
        that yet: see :meth:`authapp.store.protocol.Store.recall`.
        """
        return is_revoked(session, *self._store.recall(*revocation_keys(session)))

    def known_ended_elsewhere(self, session: Session) -> bool:
        """Return True if this process knows that this session was ended from elsewhere.

        A sign-out or a new sign-in in the session's own browser does not count, because the user
        knows of it. Other tabs of this browser must not report it, although they may still send the
        old cookie.
        """
        return _is_ended_elsewhere(session, *self._store.recall(*revocation_keys(session)))

    def ended_elsewhere(self, session: Session) -> bool:
        """Return True if this session was ended from elsewhere. This method asks the store."""
        return _is_ended_elsewhere(session, *self._store.get(*revocation_keys(session)))

    def next_start(self, user_id: int | str, now: float, groups: tuple[str, ...] = ()) -> float:
        """Return the sign-in time to record in a new session, in epoch seconds.

        Earlier calls of :meth:`revoke_user`, :meth:`revoke_others` and :meth:`revoke_group` revoke
        each session whose sign-in time is not later than a certain time. Because clocks differ,
        that time may be in the future. So a new session gets a sign-in time that is later.

        :param now: the present time, in epoch seconds. It is the result if it is late enough.
        :param groups: the groups of the new session.
        """
        keys = (_user_key(user_id), _others_key(user_id), *map(_group_key, groups))
        revoked_until = max(map(_moment, self._store.get(*keys)))
        return now if now > revoked_until else revoked_until + 0.001

    def _window(self, session: Session) -> float:
        """Return the longest time in seconds by which a running renewal can extend the session."""
        return max(self._lifetime, session.validity.refresh_until - session.issued_at)


def revocation_keys(session: Session) -> tuple[Key, ...]:
    """Return the keys of the strings that tell whether a session was revoked.

    :returns: the key for this session alone, the key for all sessions of the user, the key for all
        sessions of the user but one, and the keys of the session's groups.
    """
    return _revocation_keys(session.sid, session.identity.id, session.tokens.groups)


@lru_cache(maxsize=4096)
def _revocation_keys(sid: str, user_id: int | str, groups: tuple[str, ...]) -> tuple[Key, ...]:
    alone, of_user = Key("revoked session", sid, str(user_id)), _user_key(user_id)
    return alone, of_user, _others_key(user_id), *map(_group_key, groups)


def is_revoked(
    session: Session, alone: str | None, of_user: str | None, others: str | None, *rest: str | None
) -> bool:
    """Return True if the strings under :func:`revocation_keys` say that a session was revoked.

    Each string is None if the store has no string under its key.

    :param alone: the string that revokes this session alone.
    :param of_user: the string that revokes all sessions of the user.
    :param others: the string that revokes all sessions of the user but one.
    :param rest: the strings that revoke the session's groups.
    """
    kept = (others or "").partition(" ")[2] == session.sid
    until = [of_user, *rest] if kept else [of_user, others, *rest]
    return alone is not None or session.authenticated_at <= max(map(_moment, until))


def _replaced_key(session: Session) -> Key:
    return Key("replaced session", session.sid, str(session.identity.id))


def _user_key(user_id: int | str) -> Key:
    return Key("revoked user", str(user_id), str(user_id))


def _others_key(user_id: int | str) -> Key:
    return Key("revoked other sessions", str(user_id), str(user_id))


def _group_key(group: str) -> Key:
    return Key("revoked group", group)


def _moment(text: str | None) -> float:
    """Return the time in the string of a revocation, or minus infinity if there is no string.

    The string is ``<time>``. Under :func:`_others_key`, it is ``<time> <sid>``, with the session id
    of the session that is not revoked.
    """
    return float(text.partition(" ")[0]) if text else _NEVER


def _is_ended_elsewhere(session: Session, alone: str | None, *marks: str | None) -> bool:
    """Return True if a session was ended from elsewhere, and not by its own browser.

    :param alone: the revocation of this session alone, or None.
    :param marks: the other strings under :func:`revocation_keys`.
    """
    if alone is not None:
        return alone == _ELSEWHERE
    return is_revoked(session, None, *marks)
