"""Who may wait for a backend that has not answered yet.

A slow backend and one that hangs look alike until it is late, and a server has few threads:
if all of them wait, not even a public page is served. So there are some seats. Who has one
may wait for as long as the backend may take. Whoever comes when all are taken waits standing:
only until the backend has been silent for longer than is usual for it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import TypeVar

from authapp.backend import BackendLeftAlone

UNUSUAL = 1.0
"""Seconds of silence that are never usual, unless the backend has lately been as slow."""

T = TypeVar("T")


class Waiting:
    """The requests of this process that wait for one backend.

    :param seats: how many may wait it out: fewer than the server has threads.
    :param clock: seconds that only grow.
    """

    def __init__(self, seats: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seats = seats
        self._clock = clock
        self._changed = threading.Condition()
        self._present = 0
        self._calls: list[float] = []
        self._answered_at = float("-inf")
        self._slowest = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Put around a call for which a request waits.

        Without a seat, the call does not begin while the backend is silent.

        :raises BackendLeftAlone: when it has been so for longer than is usual for it.
        """
        with self._place() as seated:
            with self._changed:
                while not seated and (silence := self._silence()):
                    if silence >= self._usual():
                        raise BackendLeftAlone("it has been silent for a while")
                    self._changed.wait(self._usual() - silence)
                began = self._clock()
                self._calls.append(began)
            try:
                yield
            finally:
                with self._changed:
                    self._calls.remove(began)

    def answered(self, seconds: float) -> None:
        """The backend has answered somebody, after so many seconds: it is not silent."""
        with self._changed:
            self._answered_at = self._clock()
            self._slowest = max(seconds, 0.9 * self._slowest)
            self._changed.notify_all()

    def result(self, future: "Future[T]", patience: float) -> T | None:
        """What comes of somebody else's call, or None if that takes too long.

        :param patience: seconds.
        """
        give_up = self._clock() + patience
        with self._place() as seated:
            while (left := give_up - self._clock()) > 0:
                if not seated:
                    left = min(left, self._usual() - self._silence())
                try:
                    return future.result(max(left, 0))
                except FutureTimeout:
                    if not seated and self._silence() >= self._usual():
                        break
        return None

    @contextmanager
    def _place(self) -> Iterator[bool]:
        """Be here, and know whether there was a seat."""
        with self._changed:
            seated = self._present < self._seats
            self._present += 1
        try:
            yield seated
        finally:
            with self._changed:
                self._present -= 1

    def _silence(self) -> float:
        """For how many seconds a call is under way and none has been answered since."""
        began = min(self._calls, default=self._answered_at)
        return self._clock() - began if began > self._answered_at else 0.0

    def _usual(self) -> float:
        return max(UNUSUAL, 3 * self._slowest)
