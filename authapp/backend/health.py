"""Whether the backend answers, and who may try when it does not.

While it is down, one request at a time tries it, after a pause that grows; all others are
answered at once, so that no thread waits for what will not come.
"""

import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from authapp.backend import (
    Backend,
    BackendDown,
    BackendLeftAlone,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    Credentials,
)
from authapp.backend.waiting import Waiting
from authapp.session import TokenPair
from authapp.shared import Key, Shared

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 1.2
"""Seconds before a backend that is down is tried again, at first and in the end."""

LONG_AGO = 60.0
"""Seconds after which nobody knows any more what a log line said of it."""

REACH_EVERY = 1.0
"""Seconds for which the answer to a health check is good."""

_STATE, _DOWN, _UP = Key("backend", "state"), "down", "up"

UNLUCKY = 3
"""How many sessions in a row must get a bad answer until nobody else is tried."""


class Health:
    """The state of one backend, as this process sees it.

    A backend that cannot be reached is down. One that answers some session with nonsense may
    be well (Django SimpleJWT answers a deleted user with 500): it is down when several
    sessions in a row get no good answer.

    What one process finds out is told to the others through the shared memory, so that not
    each of them has to wait for a backend that hangs.

    :param clock: seconds that only grow.
    """

    def __init__(
        self, shared: Shared, waiting: Waiting, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.waiting = waiting
        self._shared = shared
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = 0.0
        self._retry_at = 0.0
        self._probing = False
        self._unlucky: set[TokenPair] = set()

    @property
    def up(self) -> bool:
        """Whether it may be asked by everybody at once."""
        return self._pause == 0

    @contextmanager
    def attempt(self, renewed: TokenPair | None = None) -> Iterator[None]:
        """Put around every call of the backend.

        :param renewed: the tokens of a renewal, which tell its session from others.
        :raises BackendLeftAlone: at once, when somebody else is trying already or it is too
            early to try again.
        """
        if self.up and self._shared.get(_STATE) == [_DOWN]:
            self._pause_for(None, "another process got no answer")
        with self._lock:
            wait = self._retry_at - self._clock()
            if not self.up and (self._probing or wait > 0):
                why = "it did not answer a moment ago"
                raise BackendLeftAlone(why, max(wait, FIRST_PAUSE))
            probe = self._probing = not self.up
        try:
            with self.waiting.call(), self._judged(renewed):
                yield
        finally:
            if probe:
                self._probing = False

    @contextmanager
    def _judged(self, renewed: TokenPair | None) -> Iterator[None]:
        """Learn from what comes of a call."""
        began = self._clock()
        try:
            yield
        except (BackendDown, BackendThrottled) as error:
            self._failed(error)
            raise
        except BackendUnavailable as error:
            self._answered_badly(renewed, error)
            raise
        except BackendRejected:
            self._answered(began)
            raise
        except Exception as error:
            # A bug in somebody's backend signs nobody out. Its message may hold a token.
            log.error("BackendFailed: %s\n%s", type(error).__name__, _where(error))
            failed = BackendUnavailable(type(error).__name__)
            self._answered_badly(renewed, failed)
            raise failed from None
        else:
            self._answered(began)

    def _answered(self, began: float) -> None:
        self.waiting.answered(self._clock() - began)
        self.back()

    def back(self) -> None:
        """It has answered somebody."""
        with self._lock:
            was_up, self._pause = self.up, 0.0
            self._unlucky.clear()
        if not was_up:
            self._shared.put(_STATE, _UP, LONGEST_PAUSE)
            log.warning("BackendBack: it answers again")

    def _answered_badly(self, renewed: TokenPair | None, error: BackendUnavailable) -> None:
        self.waiting.answered(0.0)
        with self._lock:
            if renewed is not None and len(self._unlucky) < UNLUCKY:
                self._unlucky.add(renewed)
            down = not self.up or len(self._unlucky) >= UNLUCKY
        if down:
            self._failed(error)

    def _failed(self, error: BackendUnavailable) -> None:
        self._shared.put(_STATE, _DOWN, self._pause_for(error.retry_after, error.reason))

    def _pause_for(self, retry_after: float | None, why: str) -> float:
        """Ask nobody for a while, and return for how many seconds."""
        with self._lock:
            if self.up or self._clock() - self._retry_at > LONG_AGO:
                log.error("BackendAway: %s; one request at a time goes on trying it", why)
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            jittered = self._pause * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
            wait = max(jittered, retry_after or 0)
            self._retry_at = self._clock() + wait
        return wait


def _where(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _pair(answer: object) -> TokenPair:
    """What a backend has returned, if it is what it should be.

    :raises TypeError: a bug in somebody's backend.
    """
    if not isinstance(answer, TokenPair):
        raise TypeError("no TokenPair")
    texts = (answer.access, answer.refresh)
    seconds = (answer.expires_in, answer.refresh_expires_in)
    if not all(isinstance(each, str) and each for each in texts):
        raise TypeError("a token that is no text")
    if not all(each is None or type(each) is int for each in seconds):
        raise TypeError("a lifetime that is no whole number")
    return answer


class GuardedBackend:
    """A backend that is called through its :class:`Health`."""

    def __init__(self, backend: Backend, health: Health) -> None:
        self._backend = backend
        self.health = health
        self._reaching = threading.Lock()
        self._reach_again = 0.0
        self._reached = True

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.Backend`."""
        with self.health.attempt():
            try:
                return _pair(self._backend.login(credentials))
            except BackendThrottled as error:
                throttled = error  # this is about one sign-in, and stops nobody else's renewal
        raise throttled

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.Backend`."""
        with self.health.attempt(tokens):
            return _pair(self._backend.refresh(tokens))

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.Backend`."""
        with self.health.attempt():
            self._backend.logout(tokens)

    def reach(self) -> bool:
        """Whether the backend answered a moment ago; one that cannot be asked is as last seen.

        It changes nothing about who may try: anybody can ask for a health check, and a
        backend that answers it may hang all the same when it is to renew something.
        """
        reach = getattr(self._backend, "reach", None)
        if reach is None:
            return self.health.up
        if self._reaching.acquire(blocking=False):
            try:
                if time.monotonic() >= self._reach_again:
                    self._reached = False
                    with suppress(BackendUnavailable):
                        reach()
                        self._reached = True
                    self._reach_again = time.monotonic() + REACH_EVERY
            finally:
                self._reaching.release()
        return self._reached
