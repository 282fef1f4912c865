"""A bulkhead: a limit on the requests of a process that wait for a slow backend.

A server has few threads. If all threads wait for the backend, the server cannot serve even a
public page. So only a fixed number of requests may wait for the whole timeout: the number of
*slots*. A request without a slot waits only until the backend is slow.

The backend is slow if it has not responded to a running call within the *slow-call threshold*. The
threshold is :data:`SLOW_CALL` seconds, or three times the duration of the slowest recent call if
that is longer.
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
"""The shortest slow-call threshold, in seconds."""

T = TypeVar("T")


class Bulkhead:
    """The requests of this process that wait for one backend.

    :param slots: how many requests may wait for the whole timeout. Use fewer slots than the server
        has threads.
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
        """Enter this context around a call of the backend for which a request waits.

        If the request has no slot and the backend has not yet responded to another call, the
        request waits first. The call starts as soon as the backend has responded to any call.

        :raises CallNotPermitted: if the request has no slot and the backend is slow.
        """
        with self._take_slot() as has_slot:
            with self._changed:
                while not has_slot and (unresponsive := self._seconds_without_response()):
                    threshold = self._slow_call_threshold()
                    if unresponsive >= threshold:
                        raise CallNotPermitted("the backend is slow and all slots are taken")
                    self._changed.wait(threshold - unresponsive)
                began = self._clock()
                self._calls.append(began)
            try:
                yield
            finally:
                with self._changed:
                    self._calls.remove(began)

    def answered(self, seconds: float) -> None:
        """Record that the backend has responded to a call after ``seconds``."""
        with self._changed:
            self._answered_at = self._clock()
            self._slowest = max(seconds, 0.9 * self._slowest)
            self._changed.notify_all()

    def wait_for(self, future: "Future[T]", seconds: float) -> T | None:
        """Wait for the result of another request's call.

        :param future: the future of the result.
        :param seconds: the longest time to wait, in seconds. A request without a slot stops waiting
            as soon as the backend is slow.
        :returns: the result, or None if the result did not arrive in time.
        """
        give_up = self._clock() + seconds
        with self._take_slot() as has_slot:
            while (left := give_up - self._clock()) > 0:
                if not has_slot:
                    left = min(left, self._slow_call_threshold() - self._seconds_without_response())
                try:
                    return future.result(max(left, 0))
                except FutureTimeout:
                    if (
                        not has_slot
                        and self._seconds_without_response() >= self._slow_call_threshold()
                    ):
                        break
        return None

    @contextmanager
    def _take_slot(self) -> Iterator[bool]:
        """Record that this request waits, and yield True if the request has a slot."""
        with self._changed:
            has_slot = self._waiting < self._slots
            self._waiting += 1
        try:
            yield has_slot
        finally:
            with self._changed:
                self._waiting -= 1

    def _seconds_without_response(self) -> float:
        """Return for how many seconds the backend has not responded to a running call.

        The result is 0 if no call is running, or if the oldest call began before the last
        response.
        """
        began = min(self._calls, default=self._answered_at)
        return self._clock() - began if began > self._answered_at else 0.0

    def _slow_call_threshold(self) -> float:
        return max(SLOW_CALL, 3 * self._slowest)
