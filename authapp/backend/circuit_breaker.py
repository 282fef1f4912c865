"""The circuit breaker: which requests may call a verb of the backend while that verb is down.

- **Closed**: the backend is up, and every request may call it.
- **Open**: the backend is down. Calls fail at once, so that no thread waits.
- **Half-open**: after a pause, one request, the probe, calls the backend. If the backend responds,
  the breaker closes. If not, the breaker opens again, and the next pause is twice as long, up to
  :data:`LONGEST_PAUSE`.
"""

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from authapp.backend.bulkhead import Bulkhead, ResponseTimes
from authapp.backend.load_shedding import LoadShedding
from authapp.backend.protocol import (
    BackendChallenge,
    BackendDown,
    BackendRejected,
    BackendUnavailable,
    CallCancelled,
    CallNotPermitted,
    NoResponse,
    UnexpectedAnswer,
)
from authapp.request_log import request_log
from authapp.session.session import TokenPair
from authapp.store.protocol import Key, Store

log = request_log(__name__)

FIRST_PAUSE = 0.25
"""Seconds for which the breaker stays open at first. Each pause is made up to a quarter longer or
shorter, at random. If the backend sends a longer ``Retry-After``, the breaker stays open for that
time."""

LONGEST_PAUSE = 1.2
"""Seconds for which the breaker stays open after many failed probes, before the random change."""

LOG_AGAIN = 60.0
"""While the breaker is open, a further failure is logged only if the last pause ended more than
this many seconds ago."""

FAILING_SESSIONS = 3
"""How many different sessions in a row must get a bad response before the breaker opens."""

_DOWN, _UP = "down", "up"


class CircuitBreaker:
    """The state of one verb of a backend, as this process sees it.

    Each verb has its own circuit breaker, because a sign-in that hangs or gets 503 must not stop
    renewals.

    The breaker opens in these cases:

    - No connection can be made.
    - The backend returns 502, 503 or 504 to a login, a refresh or a logout.
    - The backend does not respond to a call, and responds to no other call of the verb meanwhile.
    - :data:`FAILING_SESSIONS` sessions in a row get other bad responses. One such response is not
      enough, because other sessions may get good responses. For example, Django SimpleJWT returns
      500 for a deleted user, and a limit of requests for each user returns 429.

    The store also records that a breaker is open, so that other processes do not wait for a backend
    that hangs.

    :param bulkhead: limits how many requests wait for the backend.
    :param verb: the name of the verb in the log and in the store.
    :param clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        store: Store,
        bulkhead: Bulkhead,
        clock: Callable[[], float] = time.monotonic,
        verb: str = "refresh",
    ) -> None:
        self.bulkhead = bulkhead
        self._verb = verb
        self._state = Key("backend", f"state of {verb}")
        self._logged = False
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0
        self._retry_at = 0.0
        self._answered_at = float("-inf")
        self._probing = False
        self._failing: set[TokenPair] = set()

    @property
    def closed(self) -> bool:
        """True if every request may call the backend."""
        return self._pause == 0

    @contextmanager
    def call(
        self,
        renewed: TokenPair | None = None,
        user: str | None = None,
        shedding: LoadShedding | None = None,
    ) -> Iterator[None]:
        """Enter this context around every call of the backend.

        :param renewed: the tokens of the session that the call renews. They tell the breaker how
            many different sessions get bad responses. None: the call is not a renewal.
        :param user: see :meth:`authapp.backend.bulkhead.Bulkhead.call`.
        :param shedding: if given, it limits the call in place of the bulkhead.
        :raises CallNotPermitted: at once, if the breaker is open or another request is the probe.
        """
        if self.closed and self._store.get(self._state) == [_DOWN]:
            self._pause_for(None, "another process got no response")
        with self._lock:
            wait = self._retry_at - self._clock()
            if not self.closed and (self._probing or wait > 0):
                raise CallNotPermitted("the backend is down", max(wait, FIRST_PAUSE))
            probe = self._probing = not self.closed
        try:
            limit = shedding or self.bulkhead
            limited_call = shedding.call() if shedding else self.bulkhead.call(user)
            with ExitStack() as limited:
                try:
                    limited.enter_context(limited_call)
                except CallNotPermitted as error:
                    log.warning("CallRefused: %s: %s", self._verb, error.reason)
                    raise
                if not (probe or self.closed):  # it has opened while this request waited for a slot
                    raise CallNotPermitted("the backend is down", FIRST_PAUSE)
                with self._observed(limit.times, renewed):
                    yield
        finally:
            if probe:
                self._probing = False

    @contextmanager
    def _observed(self, times: ResponseTimes, renewed: TokenPair | None) -> Iterator[None]:
        """Change the state, depending on the result of a call."""
        began = self._clock()
        try:
            yield
        except (CallNotPermitted, CallCancelled):
            raise
        except BackendDown as error:
            is_lost = isinstance(error, NoResponse) and self._answered_at > began
            if not (self.closed and is_lost):
                self.open(error)
            raise
        except BackendUnavailable as error:
            if isinstance(error, UnexpectedAnswer) and error.refusal:
                self._answered(times, began)
            else:
                self._failed_for_one(times, renewed, error)
            raise
        except (BackendRejected, BackendChallenge):
            self._answered(times, began)
            raise
        except Exception as error:
            # A bug in an application's own backend must sign nobody out. The text of the error is
            # not logged, because it may contain a token.
            log.error("BackendFailed: %s\n%s", type(error).__name__, _where(error))
            failed = BackendUnavailable(type(error).__name__)
            self._failed_for_one(times, renewed, failed)
            raise failed from None
        else:
            self._answered(times, began)

    def _answered(self, times: ResponseTimes, began: float) -> None:
        self._answered_at = self._clock()
        times.answered(self._answered_at - began)
        self.close()

    def close(self) -> None:
        """Close the breaker, because the backend has responded."""
        with self._lock:
            was_closed, self._pause = self.closed, 0.0
            self._failing.clear()
        if not was_closed:
            self._store.put(self._state, _UP, LONGEST_PAUSE)
            if self._logged:
                log.warning("BackendBack: %s: it responds again", self._verb)

    def _failed_for_one(
        self, times: ResponseTimes, renewed: TokenPair | None, error: BackendUnavailable
    ) -> None:
        """Record a bad response to one session."""
        self._answered_at = self._clock()
        times.answered(0.0)
        with self._lock:
            if renewed is not None and len(self._failing) < FAILING_SESSIONS:
                self._failing.add(renewed)
            several = len(self._failing) >= FAILING_SESSIONS
        if several:
            self.open(error)
        elif not self.closed:
            self.open(BackendUnavailable(error.reason))  # its Retry-After concerns one session

    def open(self, error: BackendUnavailable, *, quiet: bool = False) -> None:
        """Open the breaker in this process, and in all processes that share the store.

        :param quiet: True if another verb has failed. Then nothing is logged, and a breaker that is
            already open does not change.
        """
        if quiet and not self.closed:
            return
        pause = self._pause_for(error.retry_after, error.reason, quiet=quiet)
        self._store.put(self._state, _DOWN, pause)

    def _pause_for(self, retry_after: float | None, why: str, *, quiet: bool = False) -> float:
        """Keep the breaker open for the next pause. Return the length of the pause in seconds."""
        with self._lock:
            if self.closed or self._clock() - self._retry_at > LOG_AGAIN:
                self._logged = not quiet
                if self._logged:
                    text = "BackendDown: %s: %s; one request at a time probes it"
                    log.error(text, self._verb, why)
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            jittered = self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
            wait = max(jittered, retry_after or 0)
            self._retry_at = self._clock() + wait
        return wait


def _where(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
