"""A bulkhead: how many requests of a process may block on a backend that does not answer.

A server has few threads. If all of them wait for the backend, not even a public page is
served. So a fixed number of requests (slots) may wait for the whole timeout. A request without
a slot waits only while the backend is not slow: a call is slow when it takes longer than
:data:`SLOW_CALL` seconds and longer than three times the slowest recent answer.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import TypeVar

from authapp.backend.protocol import CallNotPermitted

SLOW_CALL = 1.0
"""Seconds without an answer that are never slow: the least slow-call threshold."""

T = TypeVar("T")


class Bulkhead:
    """The requests of this process that wait for one backend.

    :param slots: how many requests may wait for the whole timeout. It must be smaller than the
        number of server threads.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting = 0
        self._calls: list[float] = []
        self._answered_at = float("-inf")
        self._slowest = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Enter this context around a call that a request waits for.

        Without a slot, the call starts only when the backend has answered its other calls.

        :raises CallNotPermitted: if there is no slot and the backend is slow.
        """
        with self._take_slot() as has_slot:
            with self._changed:
                while not has_slot and (silent := self._silent_for()):
                    threshold = self._slow_call_threshold()
                    if silent >= threshold:
                        raise CallNotPermitted("the backend is slow and all slots are taken")
                    self._changed.wait(threshold - silent)
                began = self._clock()
                self._calls.append(began)
            try:
                yield
            finally:
                with self._changed:
                    self._calls.remove(began)

    def answered(self, seconds: float) -> None:
        """Record that the backend answered a call, after so many seconds."""
        with self._changed:
            self._answered_at = self._clock()
            self._slowest = max(seconds, 0.9 * self._slowest)
            self._changed.notify_all()

    def wait_for(self, future: "Future[T]", seconds: float) -> T | None:
        """Wait for the result of another request's call.

        :param seconds: how long to wait at most. Without a slot, the wait ends as soon as the
            backend is slow.
        :returns: the result, or None if it did not come in time.
        """
        give_up = self._clock() + seconds
        with self._take_slot() as has_slot:
            while (left := give_up - self._clock()) > 0:
                if not has_slot:
                    left = min(left, self._slow_call_threshold() - self._silent_for())
                try:
                    return future.result(max(left, 0))
                except FutureTimeout:
                    if not has_slot and self._silent_for() >= self._slow_call_threshold():
                        break
        return None

    @contextmanager
    def _take_slot(self) -> Iterator[bool]:
        """Count this request as waiting, and tell whether it has a slot."""
        with self._changed:
            has_slot = self._waiting < self._slots
            self._waiting += 1
        try:
            yield has_slot
        finally:
            with self._changed:
                self._waiting -= 1

    def _silent_for(self) -> float:
        """For how many seconds a call has been running without any call being answered."""
        began = min(self._calls, default=self._answered_at)
        return self._clock() - began if began > self._answered_at else 0.0

    def _slow_call_threshold(self) -> float:
        return max(SLOW_CALL, 3 * self._slowest)
