"""Spend a refresh token once, and let everybody who brought it have what came of it.

Whoever comes first spends it; the others wait for that one renewal, or go on with the token
that still holds. Among the threads of a process a future tells them apart, among processes
a lease of the shared memory. What came of it is remembered for a while under the spent
token, so that a request with the old cookie finds the successor.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, suppress
from dataclasses import replace

from authapp.backend import (
    LATE,
    BackendDown,
    BackendLeftAlone,
    BackendRejected,
    BackendUnavailable,
)
from authapp.backend.claims import TokenReader
from authapp.backend.health import GuardedBackend
from authapp.errors import RETRY_AFTER, ErrorCode
from authapp.revocation import Revocation
from authapp.rotation import Outcome, Rejected, Remembered, Renewed, Rotation, Unavailable
from authapp.session import Phase, Session, TokenPair
from authapp.shared import Lease

log = logging.getLogger(__name__)

_TELL_AGAIN = 0.5
"""Seconds between two times that others are told of an answer that is late."""

_LOOK_AGAIN = 0.01
"""Seconds between two looks at a renewal that another process has under way."""


class Renewal:
    """Renews sessions with a backend.

    :param buffer: seconds before its expiry from which an access token is due.
    :param patience: seconds for which somebody waits for another's renewal.
    :param clock: epoch seconds.
    """

    def __init__(
        self,
        backend: GuardedBackend,
        reader: TokenReader,
        rotation: Rotation,
        revocation: Revocation,
        *,
        buffer: float,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._rotation = rotation
        self._revocation = revocation
        self._buffer = buffer
        self._patience = patience
        self._clock = clock
        self._under_way: dict[tuple[str, str], Future[Outcome]] = {}

    def renew(
        self, session: Session, remembered: Remembered | None = None, *, wait: bool = False
    ) -> Outcome:
        """The successor of a session: the one that others have got, or a new one.

        Where somebody else is renewing it right now: its outcome, when the access token has
        expired; else the session as it is, without a wait.

        :param remembered: where that has just been asked.
        :param wait: wait in any case; an access token that holds is not what is wanted.
        """
        remembered = remembered or self._rotation.remembered(session)
        known: Session | Rejected = session
        if remembered.followed is not None:
            known = self._rotation.newest_lately(session)
        if isinstance(known, Rejected):
            return known
        if known.tokens == session.tokens:
            known = session  # not an equal one of another request, which would be written
        elif self._is_fresh(known):
            return Renewed(known)
        else:
            remembered = self._rotation.remembered(known)
        if remembered.failed is not None:
            return Unavailable(known, remembered.failed)
        holds = self._holds(known) and not wait
        mine: Future[Outcome] = Future()
        renewal = self._under_way.setdefault(_name(known), mine)  # atomic: one of them leads
        if renewal is mine:
            return self._lead(known, holds, mine)
        if holds:
            return Renewed(known)
        if not self._backend.health.up:
            return Unavailable(known, "another request is trying the backend")
        outcome = self._backend.health.waiting.result(renewal, self._patience)
        return outcome or Unavailable(known, "another request is still renewing")

    def _is_fresh(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer) is Phase.FRESH

    def _holds(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer).holds

    def _lead(self, session: Session, holds: bool, renewal: "Future[Outcome]") -> Outcome:
        """Renew for this process, then wake those who wait."""
        outcome: Outcome = Unavailable(session, "the renewal broke off")
        with ExitStack() as under_way:
            under_way.callback(self._under_way.pop, _name(session))
            try:
                outcome = self._once(session, holds, under_way)
            finally:
                renewal.set_result(replace(outcome, asked=False))
        return outcome

    def _once(self, session: Session, holds: bool, under_way: ExitStack) -> Outcome:
        """Spend the token, unless another process has done so or is at it.

        :param under_way: ends when nobody is at it any more.
        """
        while True:
            with ExitStack() as leased:
                lease = leased.enter_context(self._rotation.lease(session))
                # What others learned is remembered before their lease ends.
                known = self._known(session)
                if known is not None:
                    return known
                if lease is not Lease.THEIRS:
                    return self._try(session, lease, leased, under_way)
            if holds:
                return Renewed(session)
            try:
                with self._backend.health.waiting.call():
                    self._watch(session)
            except BackendDown as error:
                return Unavailable(session, error.reason)

    def _known(self, session: Session) -> Outcome | None:
        """What others have made of it; None where it is still to be renewed."""
        remembered = self._rotation.remembered(session)
        if remembered.ended:
            return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile")
        if remembered.followed is not None:
            newest = self._rotation.newest(session)
            if newest is not session:
                return self._found(newest)
        if remembered.failed is not None:
            return Unavailable(session, remembered.failed)
        return None

    def _found(self, newest: Session | Rejected) -> Outcome:
        """What a renewal that others made a moment ago means for this request."""
        if isinstance(newest, Rejected):
            return newest
        if self._holds(newest):
            return Renewed(newest)
        return Unavailable(newest, "the successor's access token cannot be used")

    def _try(
        self, session: Session, lease: Lease, leased: ExitStack, under_way: ExitStack
    ) -> Outcome:
        """Spend the token. While an answer is late, its lease goes on, and it is under way."""
        try:
            return self._spend(session, lease, self._backend.refresh)
        except BackendDown as error:
            if error.late is not None:
                under_way.push(leased.pop_all())
                self._listen(session, lease, error.late, under_way.pop_all())
            seconds = error.retry_after or RETRY_AFTER
            asked = not isinstance(error, BackendLeftAlone)
            outcome = Unavailable(session, error.reason, seconds, asked)
            return self._unless_revoked(session, outcome)

    def _listen(
        self,
        session: Session,
        lease: Lease,
        late: "Future[TokenPair]",
        under_way: ExitStack,
    ) -> None:
        """Remember what the backend says in the end, when nobody waits for it any more.

        The lease lasts as long, whoever else is answered meanwhile: this may spend the token.
        """

        def say(seconds: float = 3 * _TELL_AGAIN) -> None:
            self._rotation.failed(session, "the backend's answer is late", seconds)

        def tell() -> None:
            while not late.done():
                say()
                wait_for([late], _TELL_AGAIN)

        def take(late: "Future[TokenPair]") -> None:
            with suppress(BackendDown), under_way:
                say(0)
                if isinstance(late.exception(), BackendRejected | None):
                    self._backend.health.back()
                outcome = self._spend(session, lease, lambda tokens: late.result(), late=True)
                said = type(outcome).__name__
                log.warning("RenewalLate: session %s: the answer is: %s", session.digest, said)

        say()
        with suppress(RuntimeError):  # there can be no more threads: others find the lease taken
            threading.Thread(target=tell, daemon=True).start()
        late.add_done_callback(take)

    def _watch(self, session: Session) -> None:
        """Wait until another process knows what comes of a renewal, or its lease has ended.

        :raises BackendDown: when that takes longer than the backend may.
        """
        give_up = time.monotonic() + self._patience
        while time.monotonic() < give_up:
            time.sleep(_LOOK_AGAIN)
            with self._rotation.lease(session) as lease:
                if lease is not Lease.THEIRS or self._rotation.remembered(session).tells:
                    return
        raise BackendDown("another process is still renewing")

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
            newest = self._rotation.newest(session)
            if newest is not session:
                return self._found(newest)
        self._rotation.remember(session, outcome, late=late)
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
            if not self._rotation.alone(lease, seconds):
                return self._failed(session, "rejected, but another process may have renewed")
            return Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, str(error), asked=True)
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
            return Rejected(code, "another user's token came back", asked=True)
        return Renewed(session.renewed(identity, tokens, validity, now), asked=True)

    def _failed(
        self, session: Session, reason: str, retry_after: float | None = None
    ) -> Unavailable:
        """A failure of this session alone; a moment goes by before it is tried again."""
        wait = retry_after or RETRY_AFTER
        self._rotation.failed(session, reason, wait)
        return Unavailable(session, reason, wait, asked=True)

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
        return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile", asked=True)


def _name(session: Session) -> tuple[str, str]:
    """What a renewal is called within a process; some backends have one refresh token a user."""
    return session.sid, session.tokens.refresh
