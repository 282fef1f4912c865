"""A bulkhead: a limit on the requests of a process that wait for a slow backend.

A server has few threads. If all threads wait for the backend, the server cannot serve even a
public page. So only a fixed number of requests may wait longer than the *slow-call threshold*
(:class:`ResponseTimes`). A bulkhead limits the calls that cannot be cancelled, such as a renewal.
It has a fixed number of *slots*. A request without a slot stops waiting when the backend is slow.
:mod:`authapp.backend.load_shedding` limits the calls that can be cancelled.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from authapp.backend.cancellation import Cancellation, with_cancellation
from authapp.backend.protocol import CallNotPermitted

T = TypeVar("T")

SLOW_CALL = 1.0
"""The shortest slow-call threshold, in seconds."""


@dataclass(eq=False)
class Wait:
    """One request that waits for the backend since ``began``."""

    began: float
    can_be_cancelled: bool


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
    def waiting(self, *, can_be_cancelled: bool = False) -> Iterator[Wait]:
        """Record that this request waits."""
        wait = Wait(self._clock(), can_be_cancelled)
        with self._lock:
            self._waits.append(wait)
        try:
            yield wait
        finally:
            with self._lock:
                self._waits.remove(wait)

    def are_full(self, threshold: float) -> bool:
        """Return True if ``limit`` or more requests have waited for ``threshold`` seconds."""
        return len(self._long(threshold)) >= self._limit

    def must_end(self, wait: Wait, threshold: float) -> bool:
        """Return True if more than ``limit`` requests wait for long, and ``wait`` must end.

        Then only ``limit`` requests may go on waiting: first those that cannot be cancelled, then
        those that have waited longest. Every other request must end.

        :param threshold: after how many seconds a request waits for long.
        """
        return wait in self._long(threshold)[self._limit :]

    def _long(self, threshold: float) -> list[Wait]:
        now = self._clock()
        with self._lock:
            found = [wait for wait in self._waits if now - wait.began >= threshold]
        return sorted(found, key=lambda wait: (wait.can_be_cancelled, wait.began))


class ResponseTimes:
    """The times of the backend's responses, which show whether the backend is slow.

    The backend is slow if it has not responded to a running call within the slow-call threshold.
    The threshold is :data:`SLOW_CALL` seconds, or three times the duration of the slowest recent
    call if that is longer.

    :param clock: returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: list[float] = []
        self._cancelled: list[float] = []
        self._answered_at = float("-inf")
        self._slowest = 0.0
        self.changed = threading.Condition()

    def begin(self) -> float:
        """Record that a call begins. Return the time."""
        began = self._clock()
        with self.changed:
            self._calls.append(began)
        return began

    def end(self, began: float, *, cancelled: bool = False) -> None:
        """Record that a call has ended.

        :param cancelled: True if the backend may still respond, but no request waits for that.
        """
        with self.changed:
            self._calls.remove(began)
            if cancelled:
                self._cancelled = [min([began, *self._cancelled])]

    def answered(self, seconds: float) -> None:
        """Record that the backend has responded to a call after ``seconds``."""
        with self.changed:
            self._answered_at = self._clock()
            self._slowest = max(seconds, 0.9 * self._slowest)
            self._cancelled = []
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
        """Return how many seconds ago the oldest call without a response began.

        Only calls that began after the backend's last response count. If there is no such call, the
        result is 0.
        """
        with self.changed:
            began = [each for each in (*self._calls, *self._cancelled) if each > self._answered_at]
        return self._clock() - min(began) if began else 0.0


class Bulkhead:
    """Limits how many requests of this process wait for one backend that is slow.

    :param slots: how many requests may wait until the call's timeout. Use fewer slots than the
        server has threads.
    :param clock: returns seconds and never goes back.
    :param waits: counts the requests of several bulkheads together.
    """

    def __init__(
        self,
        slots: int,
        clock: Callable[[], float] = time.monotonic,
        waits: Waits | None = None,
    ) -> None:
        self._slots = slots
        self._clock = clock
        self._waits = waits or Waits(slots, clock)
        self.times = ResponseTimes(clock)
        self._waiting = 0
        self._turns: list[tuple[str | None, float]] = []

    @contextmanager
    def call(self, user: str | None = None) -> Iterator[None]:
        """Enter this context around a call of the backend for which a request waits.

        A request with a slot starts its call at once. A request without a slot waits while other
        calls of this bulkhead run, and starts its call after the next response to one of them.

        :param user: the id of the user. If there are several slots, one user's calls leave one for
            the calls of other users. None: the call belongs to no user.
        :raises CallNotPermitted: if the request has no slot and the backend is slow.
        """
        times = self.times
        with self._turn(user), self._take_slot() as has_slot:
            with times.changed:
                while not has_slot and (unresponsive := times.seconds_without_response()):
                    if unresponsive >= times.threshold:
                        raise CallNotPermitted("the backend is slow and all slots are taken")
                    times.changed.wait(times.threshold - unresponsive)
                began = times.begin()
            try:
                with with_cancellation(Cancellation()):
                    yield
            finally:
                times.end(began)

    @contextmanager
    def _turn(self, user: str | None) -> Iterator[None]:
        """Wait until a user's calls leave at least one slot free for other users.

        :raises CallNotPermitted: if one of this user's calls has been running for the slow-call
            threshold.
        """
        times = self.times
        with times.changed:
            while user and len(running := self._running_for(user)) >= max(1, self._slots - 1):
                left = min(running) + times.threshold - self._clock()
                if left <= 0:
                    raise CallNotPermitted("the backend is slow for other calls of this user")
                times.changed.wait(left)
            turn = (user, self._clock())
            self._turns.append(turn)
        try:
            yield
        finally:
            with times.changed:
                self._turns.remove(turn)
                times.changed.notify_all()

    def _running_for(self, user: str) -> list[float]:
        return [began for other, began in self._turns if other == user]

    def wait_for(self, future: "Future[T]", seconds: float) -> T | None:
        """Wait for the result of another request's call.

        :param future: the future of the result.
        :param seconds: the longest time to wait, in seconds. A request without a slot stops waiting
            as soon as the backend is slow.
        :returns: the result, or None if the result did not arrive in time.
        """
        times = self.times
        give_up = self._clock() + seconds
        with self._take_slot() as has_slot:
            while (left := give_up - self._clock()) > 0:
                if not has_slot:
                    left = min(left, times.threshold - times.seconds_without_response())
                try:
                    return future.result(max(left, 0))
                except FutureTimeout:
                    if not has_slot and times.slow:
                        break
        return None

    @contextmanager
    def _take_slot(self) -> Iterator[bool]:
        """Record that this request waits, and yield True if the request has a slot."""
        with self._waits.waiting():
            with self.times.changed:
                has_slot = self._waiting < self._slots
                self._waiting += 1
            try:
                yield has_slot
            finally:
                with self.times.changed:
                    self._waiting -= 1
