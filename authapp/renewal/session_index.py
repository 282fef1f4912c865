"""The sessions of a user, so that the user can see them and end them.

The store keeps one entry for each session. An entry contains no token and cannot sign a user in,
because the session itself is in the cookie. If the store loses an entry, the user stays signed in,
and a later request of the session writes the entry again.

Each user has :data:`MOST` places. A new session takes a free place. If no place is free, the
session takes the place of an ended session, or else of the session that was not used for the
longest time. An entry expires together with its session.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, NamedTuple

from authapp.renewal.revocation import CLOCKS_DIFFER, Revocation, is_revoked, revocation_keys
from authapp.session.session import Identity, Session, TokenPair, Validity
from authapp.session.session_limits import SessionLimits
from authapp.store.protocol import Key, Store

MOST = 50
"""The most sessions of one user in the index."""

MAX_AGENT = 256
"""The most characters of a ``User-Agent`` header in an entry."""

_REFRESHED = 60.0
"""An entry contains the time when its session was last used. If that is at least this many seconds
ago, the user's next request updates the entry."""

_TRACKED = 10_000
"""The most sessions whose last entry a process remembers."""

_NO_TOKENS = TokenPair("", "")


@dataclass(frozen=True)
class ListedSession:
    """One session of a user, as the index knows it. Times are in epoch seconds.

    :param session: the session without its tokens and claims.
    :param agent: the ``User-Agent`` header of the user's last request, shortened.
    :param address: the address from which that request came.
    """

    session: Session = field(repr=False)
    agent: str = ""
    address: str = ""

    @property
    def id(self) -> str:
        """The opaque id of the session: :attr:`Session.digest`, which the audit log also shows."""
        return self.session.digest

    @property
    def signed_in(self) -> float:
        """The time of the last sign-in to this session."""
        return self.session.authenticated_at

    @property
    def last_seen(self) -> int:
        """The time of the user's last request. It may be up to a minute too early."""
        return self.session.last_used


class _Update(NamedTuple):
    """The entry that this process last wrote for a session.

    :ivar used: the time of the user's last request in this entry, in epoch seconds.
    :ivar place: the number of the place in which the entry most likely is.
    :ivar fields: the values of the entry.
    """

    used: float
    place: int
    fields: list[Any]


class SessionIndex:
    """The sessions of each user, in the store.

    :param store: the store that all processes share.
    :param limits: tells when an idle session ends. An ended session is not listed.
    :param clock: returns epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        revocation: Revocation,
        limits: SessionLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._revocation = revocation
        self._limits = limits
        self._clock = clock
        self._updates: dict[str, _Update] = {}  # by sid

    def key(self, session: Session) -> Key:
        """Return the key of the place in which the entry of a session most likely is."""
        return _key(session.identity.id, self._update_of(session.sid).place)

    def find(self, session: Session, text: str | None = None) -> ListedSession | None:
        """Return the entry of a session, or None if the session has no entry.

        :param text: the string under :meth:`key`, if the caller has just read it.
        """
        entry = _parse(session.identity.id, text)
        return entry if entry and entry.session.sid == session.sid else self._find(session)[0]

    def is_due(self, session: Session) -> bool:
        """Return True if a request of the user must update the entry of its session."""
        return abs(self._clock() - self._update_of(session.sid).used) >= _REFRESHED

    def record(
        self, session: Session, agent: str, address: str, known: ListedSession | None = None
    ) -> None:
        """Write the entry of a session, if the store does not have the same entry already.

        If the user makes this request, a process writes even an entry that another process has
        written. Then this process has a copy too, in case Redis loses its data.

        :param session: the session. Its ``last_used`` is the time of the user's last request.
        :param agent: the ``User-Agent`` header of that request.
        :param address: the address from which that request came.
        :param known: the entry in the store, if the caller has read it for this request.
        """
        now = self._clock()
        mine = ListedSession(session, agent[:MAX_AGENT], address)
        is_use = session.last_used >= int(now)
        fields = _fields(_merge(mine, known, now))
        needs_copy = is_use and fields != self._update_of(session.sid).fields
        if known is not None and fields == _fields(known) and not needs_copy:
            return
        # Another request may have written the entry after ``known`` was read.
        before, place = self._find(session)
        entry = _merge(mine, before, now)
        fields = _fields(entry)
        if before is not None and fields == _fields(before) and not is_use:
            return
        # A merge keeps the greatest string. So a string begins with the time of writing.
        text = f"{now:017.6f} {json.dumps(fields)}"
        seconds = self._seconds_left(entry.session, now)
        self._store.put(_key(session.identity.id, place), text, seconds)
        if len(self._updates) >= _TRACKED:
            self._updates.clear()
        self._updates[session.sid] = _Update(entry.last_seen, place, fields)

    def last_used(self, session: Session) -> int:
        """Return the time of the user's last request in a session, in epoch seconds.

        This is the later of the time in the cookie and the time in the index. The index may have a
        later time, because another tab may have received a newer cookie.
        """
        entry = self.find(session)
        if entry is None or entry.last_seen > self._clock() + CLOCKS_DIFFER:
            return session.last_used
        return max(session.last_used, entry.last_seen)

    def of(self, user_id: int | str) -> list[ListedSession]:
        """Return the sessions of a user, the last used first.

        The list has no sessions that have ended. After the store has lost its data, a session can
        be missing until its next request, or until a running process writes the entry again.
        """
        living = self._living(user_id, self._read(user_id))
        return sorted(living.values(), key=lambda each: each.last_seen, reverse=True)

    def end(self, user_id: int | str, session_id: str) -> ListedSession | None:
        """Revoke one session of a user.

        :param session_id: :attr:`ListedSession.id`. A client can send any string.
        :returns: the session, or None if the user has no session with this id.
        """
        for each in self.of(user_id):
            if each.id == session_id:
                self._revocation.revoke(each.session, elsewhere=True)
                return each
        return None

    def end_others(self, session: Session) -> list[ListedSession]:
        """Revoke all sessions of a session's user except this session.

        Sessions that are not in the index are revoked too.

        :returns: the sessions that were in the index.
        """
        others = [each for each in self.of(session.identity.id) if each.session.sid != session.sid]
        for each in others:
            # Another session may end all others at the same time. Then both are revoked.
            self._revocation.revoke(each.session, elsewhere=True)
        self._revocation.revoke_others(session, self._clock())
        return others

    def end_all(self, user_id: int | str) -> list[ListedSession]:
        """Revoke all sessions of a user, even if they are not in the index.

        :returns: the sessions that were in the index.
        """
        found, now = self.of(user_id), self._clock()
        self._revocation.revoke_user(_stand_in(user_id, "", now, now, now, now), now)
        return found

    def _update_of(self, sid: str) -> _Update:
        return self._updates.get(sid, _Update(float("-inf"), _first_place(sid), []))

    def _find(self, session: Session) -> tuple[ListedSession | None, int]:
        """Return the entry of a session and its place.

        If the session has no entry, return None and the place that it can take.
        """
        user_id, sid = session.identity.id, session.sid
        place = self._update_of(sid).place
        entry = _parse(user_id, *self._store.get(_key(user_id, place)))
        if entry is not None and entry.session.sid == sid:
            return entry, place
        entries = self._read(user_id)
        for place, entry in entries.items():
            if entry.session.sid == sid:
                return entry, place
        # Two sessions that begin at the same time usually take different places.
        places = [(_first_place(sid) + step) % MOST for step in range(MOST)]
        free = [place for place in places if place not in entries]
        if not free:
            living = self._living(user_id, entries)
            free = [place for place in places if place not in living]
            free += sorted(living, key=lambda place: living[place].last_seen)
        return None, free[0]

    def _read(self, user_id: int | str) -> dict[int, ListedSession]:
        """Return the entries of a user by place."""
        texts = self._store.get(*(_key(user_id, place) for place in range(MOST)))
        entries = {place: _parse(user_id, text) for place, text in enumerate(texts)}
        return {place: entry for place, entry in entries.items() if entry is not None}

    def _living(
        self, user_id: int | str, entries: dict[int, ListedSession]
    ) -> dict[int, ListedSession]:
        """Return the entries whose sessions have not ended."""
        keys = {place: revocation_keys(entry.session) for place, entry in entries.items()}
        texts = iter(self._store.get(*chain.from_iterable(keys.values())))
        now, living = self._clock(), {}
        for place, entry in entries.items():
            revoked = is_revoked(entry.session, *islice(texts, len(keys[place])))
            if not revoked and self._seconds_left(entry.session, now) > 0:
                living[place] = entry
        return living

    def _seconds_left(self, session: Session, now: float) -> float:
        """Return the seconds until a session ends, if nobody uses or renews the session."""
        ends = [session.validity.refresh_until, self._limits.idle_until(session)]
        return min(end for end in ends if end is not None) - now


def _first_place(sid: str) -> int:
    return sum(sid.encode(errors="replace")) % MOST


def _key(user_id: int | str, place: int) -> Key:
    return Key("session of user", f"{place} {user_id}", str(user_id))


def _merge(mine: ListedSession, before: ListedSession | None, now: float) -> ListedSession:
    """Merge two entries of one session: keep the later use and the later sign-in.

    :param before: the entry in the store, or None if the store has no entry.
    :param now: epoch seconds. If the use in ``before`` is more than :data:`CLOCKS_DIFFER` seconds
        after ``now``, it is ignored: authapp assumes that a machine with a wrong clock wrote it.
    """
    if before is None:
        return mine
    session, agent, address = mine.session, mine.agent, mine.address
    if session.last_used < before.last_seen <= now + CLOCKS_DIFFER:
        session = replace(session, used_at=before.last_seen)
        agent, address = before.agent, before.address
    if session.authenticated_at < before.signed_in:
        session = replace(session, authenticated_at=before.signed_in)
    return ListedSession(session, agent, address)


def _fields(entry: ListedSession) -> list[Any]:
    """Return the values of an entry that are stored, for JSON."""
    session = entry.session
    return [
        session.sid,
        session.authenticated_at,
        session.last_used,
        session.issued_at,
        session.validity.refresh_until,
        entry.agent,
        entry.address,
        session.tokens.issuer,
        session.tokens.subject,
    ]


def _parse(user_id: int | str, text: str | None) -> ListedSession | None:
    """Read the string of an entry.

    :returns: the entry. None if there is no string, or if authapp cannot read the string because
        another version of authapp wrote it.
    """
    if text is None:  # most places of a user are free
        return None
    try:
        fields = json.loads(text.partition(" ")[2])
        sid, signed_in, used, issued, until, agent, address, issuer, subject = fields
        tokens = TokenPair("", "", issuer=issuer, id_claims=subject)
        session = _stand_in(user_id, sid, signed_in, used, issued, until, tokens)
    except (ValueError, TypeError, OverflowError):
        return None
    return ListedSession(session, agent, address)


def _stand_in(
    user_id: int | str,
    sid: str,
    signed_in: float,
    used: float,
    issued: float,
    until: float,
    tokens: TokenPair = _NO_TOKENS,
) -> Session:
    """Return a session without tokens, which can be revoked."""
    validity = Validity(int(until), int(until))
    return Session(
        Identity(user_id),
        tokens,
        validity,
        sid,
        issued_at=int(issued),
        authenticated_at=float(signed_in),
        used_at=int(used),
    )
