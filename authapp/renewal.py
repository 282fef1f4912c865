"""Spend a refresh token once, and let everybody who brought it have what came of it.

Whoever comes first spends it; the others wait for that one renewal, or go on with the token
that still holds. Among the threads of a process a future tells them apart, among processes
a lease of the shared memory. What came of it is remembered for a while under the spent
token, so that a request with the old cookie finds the successor.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from authapp.backend import (
    LATE,
    BackendDown,
    BackendLeftAlone,
    BackendRejected,
    BackendUnavailable,
)
from authapp.backend.claims import TokenReader
from authapp.backend.health import GuardedBackend
from authapp.errors import ErrorCode
from authapp.revocation import Revocation, revocation_keys
from authapp.session import Phase, Session, TokenPair
from authapp.shared import Key, Lease, Shared

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0
"""Seconds that somebody is told to wait who waited for a renewal in vain."""

_LATELY = 0.25
"""Seconds for which the end of a chain of successors is taken for granted by a burst."""

_KEPT = 3600.0
"""Seconds for which an answer that came late is remembered."""

_OVERDUE = 8.0
"""Seconds for which the backend answers others until an answer that is late counts as lost."""

_LOOK_AFTER = 0.25
"""Seconds between two looks at whether it does."""

_LOOK_AGAIN = 0.01
"""Seconds between two looks at a renewal that another process has under way."""


@dataclass(frozen=True)
class Renewed:
    """The session goes on as this one.

    ``spent`` is true for the one request that spent a refresh token for it.
    """

    session: Session
    spent: bool = False


@dataclass(frozen=True)
class Rejected:
    """The session has ended, and why. ``spent`` as in :class:`Renewed`."""

    code: ErrorCode
    reason: str
    spent: bool = False


@dataclass(frozen=True)
class Unavailable:
    """Nobody could say; the session is kept, nothing is lost. Try again in some seconds."""

    session: Session
    retry_after: float
    reason: str
    spent: bool = False


Outcome = Renewed | Rejected | Unavailable


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


class Renewal:
    """Renews sessions with a backend.

    :param buffer: seconds before its expiry from which an access token is due.
    :param reuse: seconds for which the successor of a spent token is remembered.
    :param patience: seconds for which somebody waits for another's renewal.
    :param clock: epoch seconds.
    """

    def __init__(
        self,
        backend: GuardedBackend,
        reader: TokenReader,
        shared: Shared,
        revocation: Revocation,
        *,
        buffer: float,
        reuse: float,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._shared = shared
        self._revocation = revocation
        self._buffer = buffer
        self._reuse = reuse
        self._patience = patience
        self._clock = clock
        self._newest_lately = lru_cache(maxsize=1024)(self._newest_at)
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], Future[Outcome]] = {}

    def remembered(self, session: Session) -> Remembered:
        """What those who share memory know of a session right now."""
        *ended, followed, failed = self._shared.get(
            *revocation_keys(session.sid, session.identity.id), _key(session), _failed_key(session)
        )
        return Remembered(
            ended=self._revocation.ended(session, *ended),
            followed=_followed(session, followed),
            failed=failed,
        )

    def renew(
        self, session: Session, remembered: Remembered | None = None, *, wait: bool = False
    ) -> Outcome:
        """The successor of a session: the one that others have got, or a new one.

        Where somebody else is renewing it right now: its outcome, when the access token has
        expired; else the session as it is, without a wait.

        :param remembered: where that has just been asked.
        :param wait: wait in any case; an access token that holds is not what is wanted.
        """
        remembered = remembered or self.remembered(session)
        known: Session | Rejected = session
        if remembered.followed is not None:
            known = self._newest_lately(session, int(time.monotonic() / _LATELY))
        if isinstance(known, Rejected):
            return known
        if known.tokens == session.tokens:
            known = session  # not an equal one of another request, which would be written
        elif self._is_fresh(known):
            return Renewed(known)
        else:
            remembered = self.remembered(known)
        if remembered.failed is not None:
            return Unavailable(known, RETRY_AFTER, remembered.failed)
        holds = self._holds(known) and not wait
        with self._lock:
            renewal = self._under_way.get(_name(known))
            if renewal is None:
                mine = self._under_way[_name(known)] = Future()
        if renewal is None:
            return self._lead(known, holds, mine)
        if holds:
            return Renewed(known)
        if not self._backend.health.up:
            return Unavailable(known, RETRY_AFTER, "another request is trying the backend")
        outcome = self._backend.health.waiting.result(renewal, self._patience)
        return outcome or Unavailable(known, RETRY_AFTER, "another request is still renewing")

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

    def _newest_at(self, session: Session, moment: int) -> Session | Rejected:
        """The same, asked once a moment by a burst of requests with one old cookie.

        Whoever is to spend a token, or to write a cookie, looks again.
        """
        return self.newest(session)

    def _is_fresh(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer) is Phase.FRESH

    def _holds(self, session: Session) -> bool:
        """Whether its access token can be used."""
        return session.phase(self._clock(), self._buffer) in (Phase.FRESH, Phase.DUE)

    def _lead(self, session: Session, holds: bool, renewal: "Future[Outcome]") -> Outcome:
        """Renew for this process, then wake those who wait."""
        outcome: Outcome = Unavailable(session, RETRY_AFTER, "the renewal broke off")
        with ExitStack() as under_way:
            under_way.callback(self._under_way.pop, _name(session))
            try:
                outcome = self._once(session, holds, under_way)
            finally:
                renewal.set_result(replace(outcome, spent=False))
        return outcome

    def _once(self, session: Session, holds: bool, under_way: ExitStack) -> Outcome:
        """Spend the token, unless another process has done so or is at it.

        :param under_way: ends when nobody is at it any more.
        """
        while True:
            with ExitStack() as leased:
                lease = leased.enter_context(self._shared.lease(_key(session)))
                # What others learned is remembered before their lease ends.
                remembered = self.remembered(session)
                if remembered.ended:
                    return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile")
                known = session if remembered.followed is None else self.newest(session)
                if isinstance(known, Rejected):
                    return known
                if known is not session:
                    return self._found(known)
                if remembered.failed is not None:
                    return Unavailable(session, RETRY_AFTER, remembered.failed)
                if lease is not Lease.THEIRS:
                    try:
                        return self._spend(session, lease, self._backend.refresh)
                    except BackendDown as error:
                        if error.late is not None:
                            under_way.push(leased.pop_all())
                            self._listen(session, lease, error.late, under_way.pop_all())
                        seconds = error.retry_after or RETRY_AFTER
                        asked = not isinstance(error, BackendLeftAlone)
                        outcome = Unavailable(session, seconds, error.reason, spent=asked)
                        return self._unless_revoked(session, outcome)
            if holds:
                return Renewed(session)
            try:
                with self._backend.health.waiting.call():
                    self._watch(session)
            except BackendDown as error:
                return Unavailable(session, RETRY_AFTER, error.reason)

    def _listen(
        self,
        session: Session,
        lease: Lease,
        late: "Future[TokenPair]",
        under_way: ExitStack,
    ) -> None:
        """Remember what the backend says in the end, when nobody waits for it any more.

        The lease lasts as long. But when the backend has answered others for a while, and not
        this session, it is given up, so that somebody can try again.
        """

        def say(seconds: float) -> None:
            self._shared.put(_failed_key(session), "the backend's answer is late", seconds)

        def listen() -> None:
            with suppress(BackendDown), under_way:
                left = _OVERDUE
                while not late.done() and left > 0:
                    say(self._patience + 1)  # it is no quicker when it is asked whether it lives
                    wait_for([late], _LOOK_AFTER)
                    left -= _LOOK_AFTER if self._backend.answers() else 0
                say(_LOOK_AFTER)
                if not late.done():
                    # Who tries again may be rejected, as this may have spent the token.
                    self._shared.put(_overdue_key(session), "1", LATE)
                    under_way.close()
                if not isinstance(late.exception(), BackendUnavailable):
                    self._backend.health.back()
                outcome = self._spend(session, lease, lambda tokens: late.result(), late=True)
                said = type(outcome).__name__
                log.warning("RenewalLate: session %s: the answer is: %s", session.digest, said)

        say(self._patience + 1)
        try:
            threading.Thread(target=listen, daemon=True).start()
        except RuntimeError:  # there can be no more of them
            under_way.close()

    def _watch(self, session: Session) -> None:
        """Wait until another process knows what comes of a renewal, or its lease has ended.

        :raises BackendDown: when that takes longer than the backend may.
        """
        give_up = time.monotonic() + self._patience
        while time.monotonic() < give_up:
            time.sleep(_LOOK_AGAIN)
            with self._shared.lease(_key(session)) as lease:
                if lease is not Lease.THEIRS or self.remembered(session).tells:
                    return
        raise BackendDown("another process is still renewing")

    def _found(self, successor: Session) -> Outcome:
        """A successor that somebody else got a moment ago."""
        if self._holds(successor):
            return Renewed(successor)
        return Unavailable(successor, RETRY_AFTER, "the successor's access token cannot be used")

    def _spend(
        self,
        session: Session,
        lease: Lease,
        ask: Callable[[TokenPair], TokenPair],
        *,
        late: bool = False,
    ) -> Outcome:
        """Spend the token, and remember what came of it: contract section 3.

        :param lease: whether nobody else can have spent it meanwhile.
        :param ask: the backend's refresh.
        :param late: whether no browser has what comes of it yet.
        :raises BackendDown: when there is no answer.
        """
        outcome = self._ask(session, lease, ask, 2 * self._patience + 1 + (LATE if late else 0))
        if isinstance(outcome, Rejected):
            # Another may have spent it while this process was stopped.
            newest = self.newest(session)
            if newest is not session:
                return newest if isinstance(newest, Rejected) else self._found(newest)
        self._remember(session, outcome, late)
        return self._unless_revoked(session, outcome)

    def _ask(
        self,
        session: Session,
        lease: Lease,
        ask: Callable[[TokenPair], TokenPair],
        seconds: float,
    ) -> Outcome:
        """What the backend's answer means.

        :param seconds: after which whoever may have spent the token has an answer, or none.
        """
        try:
            tokens = ask(session.tokens)
        except BackendRejected as error:
            sure = lease is Lease.MINE and self._shared.get(_overdue_key(session)) == [None]
            if not sure or not self._shared.remembers(seconds):
                return self._failed(session, "rejected, but another process may have renewed")
            return Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, str(error), spent=True)
        except BackendDown:
            raise
        except Exception as error:
            why = getattr(error, "reason", type(error).__name__)
            return self._failed(session, why, getattr(error, "retry_after", None))
        now = self._clock()
        try:
            identity, validity = self._reader.read(tokens, now, session)
        except Exception as error:
            # Whatever it is: the old refresh token is spent, so go on from the new one.
            kept = replace(session, tokens=replace(session.tokens, refresh=tokens.refresh))
            return self._failed(kept, getattr(error, "reason", type(error).__name__))
        if str(identity.id) != str(session.identity.id):
            log.error("RefreshTokenRejected: the backend answered with another user's token")
            code = ErrorCode.REFRESH_TOKEN_REJECTED
            return Rejected(code, "another user's token came back", spent=True)
        return Renewed(session.renewed(identity, tokens, validity, now), spent=True)

    def _failed(
        self, session: Session, reason: str, retry_after: float | None = None
    ) -> Unavailable:
        """A failure of this session alone; a moment goes by before it is tried again."""
        wait = retry_after or RETRY_AFTER
        self._shared.put(_failed_key(session), reason, wait)
        return Unavailable(session, wait, reason, spent=True)

    def _remember(self, session: Session, outcome: Outcome, late: bool) -> None:
        """Keep an answer under the token it was given for; that there was none is not kept.

        One that comes late is kept for longer: the browser that is to have it may be away.
        """
        seconds = self._reuse
        match outcome:
            case Rejected(code, reason):
                text = json.dumps({"code": code, "reason": reason})
            case Renewed(successor) | Unavailable(successor) if successor is not session:
                text = json.dumps({"session": successor.to_claims()})
                seconds = max(seconds, _KEPT) if late else seconds
            case _:
                return
        self._shared.put(_key(session), text, seconds)

    def _unless_revoked(self, session: Session, outcome: Outcome) -> Outcome:
        """Signed out while the backend was asked: its new token must not live on.

        A sign-out revokes first and looks for the successor then; here it is the other way
        round, so that one of the two sees the other whatever comes first.
        """
        if not self._revocation.revoked(session):
            return outcome
        try:
            if not isinstance(outcome, Rejected):
                self._backend.logout(outcome.session.tokens)
        except (BackendRejected, BackendUnavailable) as error:
            log.warning("SessionRevoked: the backend was not told: %s", type(error).__name__)
        return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile", spent=True)


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
    """What :meth:`Renewal._remember` has put; the same value for all who ask in a burst.

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


def _name(session: Session) -> tuple[str, str]:
    """What a renewal is called within a process; some backends have one refresh token a user."""
    return session.sid, session.tokens.refresh


def _key(session: Session) -> Key:
    """Where the successor of a session is remembered: under the refresh token it spent."""
    return Key("spent refresh token", session.tokens.refresh)


def _overdue_key(session: Session) -> Key:
    return Key("overdue renewal", session.tokens.refresh)


def _failed_key(session: Session) -> Key:
    return Key("failed renewal", session.tokens.refresh)
