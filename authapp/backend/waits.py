"""The requests of a process that wait for one backend, and which of them must stop waiting.

A server has few threads. If all threads wait for the backend, the server cannot serve even a
public page. So only a fixed number of requests may wait longer than the *slow-call threshold*.
:mod:`authapp.backend.bulkhead` limits the calls that cannot be given up, such as a renewal.
:mod:`authapp.backend.load_shedding` gives up other calls, if together they are too many.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SLOW_CALL = 1.0
"""The shortest slow-call threshold, in seconds."""


@dataclass(eq=False)
class Wait:
    """One request that waits for the backend since ``began``."""

    began: float
    can_be_given_up: bool


class Waits:
    """The requests of this process that wait for one backend.

    :param limit: how many requests may wait longer than the slow-call threshold. Use a smaller
        number than the server has threads.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: list[Wait] = []

    @contextmanager
    def waiting(self, *, can_be_given_up: bool = False) -> Iterator[Wait]:
        """Record that this request waits."""
        wait = Wait(self._clock(), can_be_given_up)
        with self._lock:
            self._waits.append(wait)
        try:
            yield wait
        finally:
            with self._lock:
                self._waits.remove(wait)

    def are_full(self, threshold: float) -> bool:
        """Return True if as many requests as may wait for long have waited for ``threshold``."""
        return len(self._long(threshold)) >= self._limit

    def must_end(self, wait: Wait, threshold: float) -> bool:
        """Return True if too many requests have waited for ``threshold``, and this one must stop.

        Requests that cannot be given up have precedence, and then those that have waited longer.
        """
        return wait in self._long(threshold)[self._limit :]

    def _long(self, threshold: float) -> list[Wait]:
        now = self._clock()
        with self._lock:
            found = [wait for wait in self._waits if now - wait.began >= threshold]
        return sorted(found, key=lambda wait: (wait.can_be_given_up, wait.began))


class ResponseTimes:
    """When the backend has responded, and whether it is slow.

    The backend is slow if it has not responded to a running call within the slow-call threshold.
    The threshold is :data:`SLOW_CALL` seconds, or three times the duration of the slowest recent
    call if that is longer.

    :param clock: returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: list[float] = []
        self._given_up: list[float] = []
        self._answered_at = float("-inf")
        self._slowest = 0.0
        self.changed = threading.Condition()

    def begin(self) -> float:
        """Record that a call begins. Return the time."""
        began = self._clock()
        with self.changed:
            self._calls.append(began)
        return began

    def end(self, began: float, *, given_up: bool = False) -> None:
        """Record that a call has ended.

        :param given_up: True if the backend may still respond, but no request waits for that.
        """
        with self.changed:
            self._calls.remove(began)
            if given_up:
                self._given_up = [min([began, *self._given_up])]

    def answered(self, seconds: float) -> None:
        """Record that the backend has responded to a call after ``seconds``."""
        with self.changed:
            self._answered_at = self._clock()
            self._slowest = max(seconds, 0.9 * self._slowest)
            self._given_up = []
            self.changed.notify_all()

    @property
    def slow(self) -> bool:
        """True if the backend is slow."""
        return self.seconds_without_response() >= self.threshold

    @property
    def threshold(self) -> float:
        """The slow-call threshold in seconds."""
        return max(SLOW_CALL, 3 * self._slowest)

    def seconds_without_response(self) -> float:
        """Return for how many seconds the backend has not responded, although calls are running.

        A call that began before the last response does not count. The result is 0 if there is no
        other call.
        """
        with self.changed:
            began = [each for each in (*self._calls, *self._given_up) if each > self._answered_at]
        return self._clock() - min(began) if began else 0.0
