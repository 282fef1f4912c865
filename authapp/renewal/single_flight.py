"""Renewal of one session: a single flight among threads, and a lease among processes.

The first request that renews a session is the **leader**. The leader spends the refresh token.
Other requests of the session are **followers**. A follower continues at once while its access token
is valid. Otherwise the follower waits for the leader's outcome.

The threads of one process share a future. Processes share a lease in the store. The outcome is
stored under the spent token (:mod:`authapp.renewal.successors`) before the lease is released.
Later requests with the old cookie find the outcome under that token.
"""

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
    UnexpectedAnswer,
)
from authapp.backend.token_reader import TokenReader
from authapp.renewal.late_response import await_late_response
from authapp.renewal.outcomes import Outcome, Rejected, Renewed, Unavailable
from authapp.renewal.revocation import Revocation
from authapp.renewal.successors import Known, Successors
from authapp.request_log import request_log
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Phase, Session, TokenPair
from authapp.store.protocol import Lease

log = request_log(__name__)

_LOOK_AGAIN = 0.01
"""Seconds between two checks whether another process has finished its renewal."""


class Renewal:
    """Renews sessions with a backend.

    :param backend: issued the tokens of the sessions.
    :param reader: reads the tokens that the backend returns.
    :param successors: the outcomes of renewals, in the store.
    :param revocation: the revoked sessions, in the store.
    :param buffer: an access token is due for renewal this many seconds before it expires.
    :param patience: the longest time that a follower waits, in seconds.
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
        self.backend = backend
        self.reader = reader
        self.successors = successors
        self._revocation = revocation
        self._buffer = buffer
        self._patience = patience
        self._clock = clock
        self.flights: dict[tuple[str, str], Future[Outcome]] = {}

    def renew(self, session: Session, known: Known | None = None, *, wait: bool = False) -> Outcome:
        """Renew a session, or find the successor that another request has created.

        If another request is renewing the session, a session with a valid access token is returned
        unchanged. An expired session waits for that renewal, unless the backend is down.

        :param known: what :meth:`Successors.recall` has just returned for the session, or None.
        :param wait: if True, wait for the other request even if the access token is valid.
        :returns: the outcome.
        """
        known = known or self.successors.recall(session)
        newest = known.successor or session
        if isinstance(newest, Rejected):
            return newest
        if newest.tokens == session.tokens:
            newest = session  # the cookie is written only if the object is a different one
        elif self._is_fresh(newest):
            return Renewed(newest)
        else:
            known = self.successors.look_up(newest)
        if known.failed is not None:
            return Unavailable(newest, known.failed)
        if not self.refreshes(newest):
            return Renewed(newest)  # the session ends when the access token expires
        may_continue = self.is_valid(newest) and not wait
        mine: Future[Outcome] = Future()
        flight = self.flights.setdefault(
            flight_name(newest), mine
        )  # atomic: exactly one thread leads
        if flight is mine:
            return self._lead(newest, may_continue, mine)
        if may_continue:
            return Renewed(newest)
        if not self.backend.breaker.closed:
            return Unavailable(newest, "the backend is down, and another request is probing it")
        outcome = self.backend.breaker.bulkhead.wait_for(flight, self._patience)
        return outcome or Unavailable(newest, "another request is still renewing")

    def refreshes(self, session: Session) -> bool:
        """Return True if a session can be renewed. Otherwise it ends with its access token."""
        return self.backend.refreshes and session.tokens.renewable

    def _is_fresh(self, session: Session) -> bool:
        return session.phase(self._clock(), self._buffer) is Phase.FRESH

    def is_valid(self, session: Session) -> bool:
        """Return True if the access token of a session has not expired."""
        return session.phase(self._clock(), self._buffer).valid

    def _lead(self, session: Session, may_continue: bool, flight: "Future[Outcome]") -> Outcome:
        """Renew the session as the leader, and give the outcome to the followers."""
        outcome: Outcome = Unavailable(session, "the renewal was interrupted")
        with ExitStack() as landing:
            landing.callback(self.flights.pop, flight_name(session))
            try:
                outcome = self._spend_once(session, may_continue, landing)
            finally:
                flight.set_result(replace(outcome, asked=False))
        return outcome

    def _spend_once(self, session: Session, may_continue: bool, landing: ExitStack) -> Outcome:
        """Spend the refresh token, unless another process has spent or is spending the token.

        While the lease is unsure, this method does not spend the token. When the store is up again,
        an expired session waits until all processes have written the outcomes of their renewals to
        the store.

        :param landing: closing this stack ends the single flight. If the response is late, the
            flight ends when the response arrives.
        """
        give_up = time.monotonic() + 2 * self._patience
        while True:
            with ExitStack() as leased:
                lease = leased.enter_context(self.successors.lease(session))
                # Another process stores its outcome before it releases the lease, so look first.
                outcome = self._result_from_others(session)
                if outcome is not None:
                    return outcome
                wait = self.successors.may_spend_in(session, lease)
                if lease is not Lease.THEIRS and wait == 0:
                    return self._spend_or_defer(session, lease, leased, landing)
            if may_continue:
                return Renewed(session)
            if time.monotonic() + wait > give_up:
                return Unavailable(session, "the store is down, or has just come back")
            try:
                with self.backend.breaker.bulkhead.call():
                    if lease is Lease.MINE:
                        time.sleep(wait)
                    else:
                        self._wait_for_other_process(session)
            except BackendDown as error:
                return Unavailable(session, error.reason)

    def _result_from_others(self, session: Session) -> Outcome | None:
        """Return the outcome that another process has stored, or None if there is none."""
        known = self.successors.look_up(session)
        if known.revoked:
            return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile")
        if known.successor is not None:
            newest = self.successors.newest(session)
            if newest is not session:
                return self._outcome_of_successor(newest)
        if known.failed is not None:
            return Unavailable(session, known.failed)
        return None

    def _outcome_of_successor(self, newest: Session | Rejected) -> Outcome:
        """Return the outcome of a renewal that another request has already made.

        :param newest: the end of the successor chain. It is a session, or a rejection.
        """
        if isinstance(newest, Rejected):
            return newest
        if self.is_valid(newest):
            return Renewed(newest)
        return Unavailable(newest, "the successor's access token cannot be used")

    def _spend_or_defer(
        self, session: Session, lease: Lease, leased: ExitStack, landing: ExitStack
    ) -> Outcome:
        """Spend the token.

        If the response is late, the lease and the flight continue until the response arrives.
        """
        try:
            user = str(session.identity.id)
            return self._spend(session, lease, lambda tokens: self.backend.refresh(tokens, user))
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
        """Store a failure for ``seconds``, so that no process sends the token again."""
        self.successors.keep_failure(session, "the backend's response is late", seconds)

    def _use_late(self, session: Session, lease: Lease, late: "Future[TokenPair]") -> None:
        """Store the outcome of a late response, so that the session's next request finds it."""
        if isinstance(late.exception(), BackendRejected | None):
            self.backend.breaker.close()
        outcome = self._spend(session, lease, lambda tokens: late.result(), late=True)
        kind = type(outcome).__name__
        log.warning("RenewalLate: session %s: the outcome is %s", session.digest, kind)

    def _wait_for_other_process(self, session: Session) -> None:
        """Wait until another process has stored its outcome, or its lease has ended.

        :raises BackendDown: if this takes longer than ``patience``.
        """
        give_up = time.monotonic() + self._patience
        while time.monotonic() < give_up:
            time.sleep(_LOOK_AGAIN)
            with self.successors.lease(session) as lease:
                if lease is not Lease.THEIRS or self.successors.look_up(session).anything:
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
        """Spend the token and store the outcome (contract section 3).

        :param lease: the lease of the token. If the lease is unsure, another process may spend the
            token at the same time.
        :param refresh: takes the old tokens and returns new ones, from a call of the backend or
            from its late response.
        :param late: True if the response is late, so that the call took longer than ``patience``.
        :raises BackendDown: if the backend is down or does not respond.
        """
        longest = 2 * self._patience + 1 + (LATE if late else 0)
        outcome = self._interpret(session, lease, refresh, longest)
        if isinstance(outcome, Rejected):
            # Another process may have spent the token while this process was suspended.
            newest = self.successors.newest(session)
            if newest is not session:
                return self._outcome_of_successor(newest)
        self.successors.keep(session, outcome)
        return self._unless_revoked(session, outcome)

    def _interpret(
        self,
        session: Session,
        lease: Lease,
        refresh: Callable[[TokenPair], TokenPair],
        longest: float,
    ) -> Outcome:
        """Call the backend, and convert the response to an outcome.

        :param longest: the longest time that a call can take, in seconds. If Redis has lost data
            in this time, another process may have spent the token under a lost lease.
        :raises BackendDown: if the backend is down or does not respond.
        """
        try:
            tokens = refresh(session.tokens)
        except BackendRejected as error:
            if not self.successors.exclusive(lease, longest):
                perhaps = "rejected, but another process may have renewed the session"
                return self._failed(session, BackendUnavailable(perhaps))
            return Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, str(error), asked=True)
        except BackendDown:
            raise
        except Exception as error:
            return self._failed(session, error, getattr(error, "tokens", None))
        now = self._clock()
        try:
            identity, validity = self.reader.read(tokens, now, session)
        except Exception as error:
            return self._failed(session, error, tokens)
        if str(identity.id) != str(session.identity.id):
            log.error("RefreshTokenRejected: the backend returned another user's token")
            code = ErrorCode.REFRESH_TOKEN_REJECTED
            return Rejected(code, "the backend returned another user's token", asked=True)
        return Renewed(session.renewed(identity, tokens, validity, now), asked=True)

    def _failed(
        self, session: Session, error: Exception, new: TokenPair | None = None
    ) -> Unavailable:
        """Store a failure, so that no request renews this session for some time.

        This time is the ``retry_after`` of the error in seconds, or :data:`RETRY_AFTER`.

        :param new: new tokens, if the old refresh token is spent. The session gets their refresh
            token.
        """
        reason = getattr(error, "reason", type(error).__name__)
        if isinstance(error, UnexpectedAnswer):
            log.warning("UnexpectedAnswer: renewal: %s", reason)
        if new is not None:
            session = replace(session, tokens=replace(session.tokens, refresh=new.refresh))
        wait = getattr(error, "retry_after", None) or RETRY_AFTER
        self.successors.keep_failure(session, reason, wait)
        return Unavailable(session, reason, wait, asked=True)

    def _unless_revoked(self, session: Session, outcome: Outcome) -> Outcome:
        """Return the outcome, or a rejection if the session was signed out during the renewal.

        A sign-out first stores the revocation and then looks for a successor. A renewal first
        stores the successor and then looks for a revocation. So at least one of two things happens:
        the sign-out finds the successor, or the renewal finds the revocation. In both cases, the
        finder asks the backend to revoke the new tokens.
        """
        if not self._revocation.revoked(session):
            return outcome
        try:
            if not isinstance(outcome, Rejected):
                self.backend.logout(outcome.session.tokens)
        except (BackendRejected, BackendUnavailable) as error:
            log.warning(
                "SessionRevoked: the backend has not revoked the new tokens: %s",
                type(error).__name__,
            )
        return Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile", asked=True)


def flight_name(session: Session) -> tuple[str, str]:
    """Return the key under which requests of one session find the same single flight.

    The refresh token alone is not enough, because some backends have one refresh token per user.
    """
    return session.sid, session.tokens.refresh
