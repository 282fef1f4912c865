"""Load shedding: calls that can be cancelled start at once, and end if too many requests wait.

These are the calls of ``request.backend`` with GET or HEAD. Such a call should change nothing, so
it does no harm if the backend still finishes a cancelled call. Before any other call starts, a
bulkhead limits it.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from authapp.backend.bulkhead import ResponseTimes, Wait, Waits
from authapp.backend.cancellation import Cancellation, with_cancellation
from authapp.backend.protocol import CallCancelled, CallNotPermitted

LOOK_AGAIN = 0.25
"""Seconds between two checks whether a call must be cancelled."""


class LoadShedding:
    """The calls that this process makes to one backend, and that can be cancelled.

    :param waits: all requests that wait for this backend.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, waits: Waits, clock: Callable[[], float] = time.monotonic) -> None:
        self.waits = waits
        self.times = ResponseTimes(clock)
        self._clock = clock
        self._probing = False

    @property
    def is_full(self) -> bool:
        """True if the backend is slow, and no further request may wait for it."""
        return self.times.slow and self.waits.are_full(self.times.threshold)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Enter this context around a call of the backend.

        While the backend is slow and no further request may wait for it, one call at a time may
        still start: the probe. If the backend responds to the probe, it is no longer slow.

        :raises CallNotPermitted: if the call cannot start, because another call is the probe.
        :raises CallCancelled: if the call has started, but then too many requests wait.
        """
        probe = self.is_full
        if probe and self._probing:
            raise CallNotPermitted("the backend is slow and too many requests wait for it")
        self._probing |= probe
        cancelled = False
        with self.waits.waiting(can_be_cancelled=True) as wait:
            began = self.times.begin()
            cancellation = _Limited(self, wait, began + LOOK_AGAIN if probe else None)
            try:
                with with_cancellation(cancellation):
                    yield
            except CallCancelled:
                cancelled = True
                raise
            finally:
                cancellation.ended = True
                self.times.end(began, cancelled=cancelled)
                self._probing &= not probe

    def must_end(self, wait: Wait, until: float | None) -> bool:
        """Return True if the request ``wait`` must stop, because too many requests wait.

        :param until: None unless the request is a probe (see :meth:`call`). A probe must stop at
            this time of the clock if the backend is still slow and too many requests still wait.
        """
        if until is not None and self._clock() >= until and self.is_full:
            return True
        return self.waits.must_end(wait, self.times.threshold)


class _Limited(Cancellation):
    """Cancels one call if too many requests wait.

    :param until: see :meth:`LoadShedding.must_end`.
    """

    def __init__(self, shedding: LoadShedding, wait: Wait, until: float | None) -> None:
        self._shedding = shedding
        self._wait = wait
        self._until = until
        self.ended = False

    def check(self) -> float:
        """See :class:`authapp.backend.cancellation.Cancellation`."""
        if self.ended:
            return math.inf
        if self._shedding.must_end(self._wait, self._until):
            raise CallCancelled("too many requests wait for the backend")
        return LOOK_AGAIN
