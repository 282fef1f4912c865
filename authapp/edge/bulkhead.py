"""A bulkhead: a limit on the requests that a process passes on to one API at the same time.

Each such request blocks a thread of the server until the API has responded and the client has read
the response. The limit keeps the other threads free for sign-in and for the application's own
pages.

If there is no free slot, a request waits only while a slot is likely to become free soon. This is
the case while at least one request has had its slot for less than :data:`SLOW` seconds. If the API
is slow, requests without a slot are refused at once.
"""

import threading
import time
from collections.abc import Callable

SLOW = 1.0
"""If a request has had its slot for this many seconds, it is unlikely to release the slot soon."""


class ProxyBulkheadFull(Exception):
    """All slots are taken, and none is likely to become free soon."""


class ProxyBulkhead:
    """The slots of one API in this process.

    :param count: how many requests may be passed on at the same time.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._changed = threading.Condition()
        self._taken: list[float] = []

    def take(self, patience: float) -> Callable[[], None]:
        """Take a slot.

        :param patience: the longest time to wait, in seconds.
        :returns: a function that releases the slot. Further calls of this function do nothing.
        :raises ProxyBulkheadFull: if no slot becomes free in time. If all slots have been taken for
            :data:`SLOW` seconds, at once.
        """
        give_up = self._clock() + patience
        with self._changed:
            while len(self._taken) >= self._count:
                now = self._clock()
                left = min(give_up, max(self._taken) + SLOW) - now
                if left <= 0:
                    raise ProxyBulkheadFull
                self._changed.wait(left)
            began = self._clock()
            self._taken.append(began)
        released = False

        def release() -> None:
            nonlocal released
            with self._changed:
                if not released:
                    released = True
                    self._taken.remove(began)
                    self._changed.notify()

        return release
