"""Renewal of one session: a single flight among threads, a lease among processes.

The first request of a session that needs renewal is the **leader**: it spends the refresh token.
The others are **followers**: they wait for the leader's outcome, or go on with the access token
while it is valid. Threads share a future. Processes share a lease in the store. The outcome is
kept under the spent token (:mod:`authapp.renewal.successors`) before the lease ends, so that a
request which comes later finds it.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.protocol import (
    LATE,
    BackendDown,
    BackendRejected,
    BackendUnavailable,
    CallNotPermitted,
)
from authapp.backend.token_reader import TokenReader
from authapp.renewal.late_response import await_late_response
from authapp.renewal.outcomes import Outcome, Rejected, Renewed, Unavailable
from authapp.renewal.revocation import Revocation
from authapp.renewal.successors import Known, Successors
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Phase, Session, TokenPair
from authapp.store.protocol import Lease

log = logging.getLogger(__name__)

_LOOK_AGAIN = 0.01
"""Seconds between two looks at a renewal that another process is doing."""


class Renewal:
    """Renews sessions with a backend.

    :param buffer: seconds before its expiry from which an access token is due.
    :param patience: seconds for which a follower waits at most.
    :param clock: returns epoch seconds.
    """

    def __init__(
        self,
        backend: GuardedBackend,
        reader: TokenReader,
        successors: Successors,
        revocation: Revocation,
        *,
        buffer: float,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._reader = reader
        self._successors = successors
        self._revocation = revocation
        self._buffer = buffer
        self._patience = patience
        self._clock = clock
        self._flights: dict[tuple[str, str], Future[Outcome]] = {}

    def renew(self, session: Session, known: Known | None = None, *, wait: bool = False) -> Outcome:
        """Return the successor of a session: one that exists already, or a new one.

        While another request renews it: wait for that outcome if the access token has expired.
        If it is still valid, return the session unchanged and do not wait.

        :param known: what the store knows of the session, if it has just been asked.
        :param wait: wait in any case, although the access token may be valid.
        """
        known = known or self._successors.look_up(session)
        newest: Session | Rejected = session
        if known.successor is not None:
            newest = self._successors.newest_cached(session)
        if isinstance(newest, Rejected):
            return newest
        if newest.tokens == session.tokens:
            newest = session  # an equal value from another request would be written as a cookie
        elif self._is_fresh(newest):
            return Renewed(newest)
        else:
            known = self._successors.look_up(newest)
        if known.failed is not None:
            return Unavailable(newest, known.failed)
        may_go_on = self._is_valid(newest) and not wait
        mine: Future[Outcome] = Future()
        flight = self._flights.setdefault(_name(newest), mine)  # atomic: exactly one leads
        if flight is mine:
            return self._lead(newest, may_go_on, mine)
        if may_go_on:
            return Renewed(newest)
        if not self._backend.breaker.closed:
            return Unavailable(newest, "another request is trying the backend")
        outcome = self._backend.breaker.bulkhead.wait_for(flight, self._patience)
        return outcome or Unavailable(newest, "another request is still renewing")

    def _is_fresh(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer) is Phase.FRESH

    def _is_valid(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer).valid

    def _lead(self, session: Session, may_go_on: bool, flight: "Future[Outcome]") -> Outcome:
        """Renew for all threads of this process, then give the outcome to the followers."""
        outcome: Outcome = Unavailable(session, "the renewal was interrupted")
        with ExitStack() as landing:
            landing.callback(self._flights.pop, _name(session))
            try:
                outcome = self._once(session, may_go_on, landing)
            finally:
                flight.set_result(replace(outcome, asked=False))
        return outcome

    def _once(self, session: Session, may_go_on: bool, landing: ExitStack) -> Outcome:
        """Spend the token, unless another process has done so or is doing so.

        :param landing: what ends the flight. A late response takes it over.
        """
        while True:
            with ExitStack() as leased:
                lease = leased.enter_context(self._successors.lease(session))
                # Other processes keep their outcome before their lease ends, so look first.
                outcome = self._result_from_others(session)
                if outcome is not None:
                    return outcome
                if lease is not Lease.THEIRS:
                    return self._try(session, lease, leased, landing)
            if may_go_on:
                return Renewed(session)
            try:
                with self._backend.breaker.bulkhead.call():
                    self._wait_for_other_process(session)
            except BackendDown as error:
                return Unavailable(session, error.reason)

    def _result_from_others(self, session: Session) -> Outcome | None:
        """The outcome that another process has kept; None if the token is still to be spent."""
        known = self._successors.look_up(session)
        if known.revoked:
            return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile")
        if known.successor is not None:
            newest = self._successors.newest(session)
            if newest is not session:
                return self._adopt(newest)
        if known.failed is not None:
            return Unavailable(session, known.failed)
        return None

    def _adopt(self, newest: Session | Rejected) -> Outcome:
        """What a successor that another request has made means for this request."""
        if isinstance(newest, Rejected):
            return newest
        if self._is_valid(newest):
            return Renewed(newest)
        return Unavailable(newest, "the successor's access token cannot be used")

    def _try(
        self, session: Session, lease: Lease, leased: ExitStack, landing: ExitStack
    ) -> Outcome:
        """Spend the token. If the response is late, the lease and the flight go on."""
        try:
            return self._spend(session, lease, self._backend.refresh)
        except BackendDown as error:
            if error.late is not None:
                landing.push(leased.pop_all())
                await_late_response(
                    error.late,
                    announce=partial(self._announce_late, session),
                    use=partial(self._use_late, session, lease),
                    landing=landing.pop_all(),
                )
            seconds = error.retry_after or RETRY_AFTER
            asked = not isinstance(error, CallNotPermitted)
            outcome = Unavailable(session, error.reason, seconds, asked)
            return self._unless_revoked(session, outcome)

    def _announce_late(self, session: Session, seconds: float) -> None:
        """Make other requests and processes answer "unavailable" and not send the token again."""
        self._successors.keep_failure(session, "the backend's answer is late", seconds)

    def _use_late(self, session: Session, lease: Lease, late: "Future[TokenPair]") -> None:
        """Keep the outcome of a late response for the next request of the session."""
        if isinstance(late.exception(), BackendRejected | None):
            self._backend.breaker.close()
        outcome = self._spend(session, lease, lambda tokens: late.result(), late=True)
        kind = type(outcome).__name__
        log.warning("RenewalLate: session %s: the outcome is %s", session.digest, kind)

    def _wait_for_other_process(self, session: Session) -> None:
        """Wait until another process has kept its outcome, or its lease has ended.

        :raises BackendDown: if that takes longer than the backend may take.
        """
        give_up = time.monotonic() + self._patience
        while time.monotonic() < give_up:
            time.sleep(_LOOK_AGAIN)
            with self._successors.lease(session) as lease:
                if lease is not Lease.THEIRS or self._successors.look_up(session).anything:
                    return
        raise BackendDown("another process is still renewing")

    def _spend(
        self,
        session: Session,
        lease: Lease,
        refresh: Callable[[TokenPair], TokenPair],
        *,
        late: bool = False,
    ) -> Outcome:
        """Spend the token and keep the outcome: contract section 3.

        :param lease: whether another process can spend the token at the same time.
        :param refresh: the backend's verb, or the response to it that was late.
        :param late: whether no browser has the outcome yet.
        :raises BackendDown: if there is no answer.
        """
        longest = 2 * self._patience + 1 + (LATE if late else 0)
        outcome = self._interpret(session, lease, refresh, longest)
        if isinstance(outcome, Rejected):
            # Another process may have spent the token while this one was stopped.
            newest = self._successors.newest(session)
            if newest is not session:
                return self._adopt(newest)
        self._successors.keep(session, outcome, late=late)
        return self._unless_revoked(session, outcome)

    def _interpret(
        self,
        session: Session,
        lease: Lease,
        refresh: Callable[[TokenPair], TokenPair],
        longest: float,
    ) -> Outcome:
        """Call the backend, and say what its answer means.

        :param longest: seconds that another process could take for the same call.
        """
        try:
            tokens = refresh(session.tokens)
        except BackendRejected as error:
            if not self._successors.exclusive(lease, longest):
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
            # Whatever it is: the old refresh token is spent, so continue with the new one.
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
        """The renewal of this session failed; it is not tried again for a second or so."""
        wait = retry_after or RETRY_AFTER
        self._successors.keep_failure(session, reason, wait)
        return Unavailable(session, reason, wait, asked=True)

    def _unless_revoked(self, session: Session, outcome: Outcome) -> Outcome:
        """The outcome, unless the session was signed out while the backend was called.

        A sign-out revokes first and then looks for the successor. A renewal keeps the successor
        first and then looks for a revocation. So one of them sees the other in any order, and
        tells the backend to end the new token.
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
    """What a flight is called. Some backends have one refresh token for each user."""
    return session.sid, session.tokens.refresh
