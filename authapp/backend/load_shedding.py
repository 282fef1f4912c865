"""Load shedding: calls that can be given up start at once, and end if too many requests wait.

These are the calls of ``request.backend`` with GET or HEAD. The backend may carry out such a call
without harm, although nobody waits for the response. Any other call is limited by a bulkhead before
it starts.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from authapp.backend.protocol import CallGivenUp, CallNotPermitted
from authapp.backend.waits import ResponseTimes, Wait, Waits

LOOK_AGAIN = 0.25
"""Seconds between two checks whether a call must be given up."""


class Patience:
    """How long the HTTP client may wait for the response to a call. This one has no limit."""

    may_connect_slowly = True
    """False if the client must not wait for the whole timeout until it has a connection."""

    def seconds(self) -> float:
        """Return after how many seconds the client must call this method again.

        :raises CallGivenUp: if the client must stop waiting.
        """
        return math.inf


_patience: ContextVar[Patience] = ContextVar("patience", default=Patience())  # noqa: B039


def current_patience() -> Patience:
    """Return how long the HTTP client may wait in the current context."""
    return _patience.get()


class _Limited(Patience):
    def __init__(self, shedding: "LoadShedding", wait: Wait) -> None:
        self._shedding = shedding
        self._wait = wait
        self.ended = False

    @property
    def may_connect_slowly(self) -> bool:  # type: ignore[override]
        return self._shedding.waits.few

    def seconds(self) -> float:
        if self.ended:
            return math.inf
        if self._shedding.waits.must_end(self._wait, self._shedding.times.threshold):
            raise CallGivenUp("too many requests wait for the backend")
        return LOOK_AGAIN


class LoadShedding:
    """The calls of this process to one backend that can be given up.

    :param waits: all requests that wait for this backend.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, waits: Waits, clock: Callable[[], float] = time.monotonic) -> None:
        self.waits = waits
        self.times = ResponseTimes(clock)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Enter this context around a call of the backend.

        :raises CallNotPermitted: if the backend is slow, and as many requests wait as may wait.
        :raises CallGivenUp: if other requests need the threads.
        """
        if self.times.slow and self.waits.are_full(self.times.threshold):
            raise CallNotPermitted("the backend is slow and too many requests wait for it")
        given_up = False
        with self.waits.waiting(can_be_given_up=True) as wait:
            began, patience = self.times.begin(), _Limited(self, wait)
            before = _patience.set(patience)
            try:
                yield
            except CallGivenUp:
                given_up = True
                raise
            finally:
                patience.ended = True
                _patience.reset(before)
                self.times.end(began, given_up=given_up)
