"""A bulkhead: a limit on the requests of a process that wait for a slow backend.

Only a fixed number of requests may wait for the whole timeout: the number of *slots*. A request
without a slot waits only until the backend is slow (:class:`authapp.backend.waits.ResponseTimes`).
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import TypeVar

from authapp.backend.patience import Patience, with_patience
from authapp.backend.protocol import CallNotPermitted
from authapp.backend.waits import ResponseTimes, Waits

T = TypeVar("T")


class Bulkhead:
    """The requests of this process that wait for one backend.

    :param slots: how many requests may wait for the whole timeout. Use fewer slots than the server
        has threads.
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

        If the request has no slot and the backend has not yet responded to another call, the
        request waits first. The call starts as soon as the backend has responded to any call.

        :param user: the id of the user. One user's calls never take the last slot, so that they do
            not stop the calls of other users. None: the call belongs to no user.
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
                with with_patience(Patience()):
                    yield
            finally:
                times.end(began)

    @contextmanager
    def _turn(self, user: str | None) -> Iterator[None]:
        """Wait until the other calls of a user leave a slot for the other users.

        :raises CallNotPermitted: if the user's calls have been running for the slow-call threshold.
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
