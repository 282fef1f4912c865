"""Shared memory of one process."""

import heapq
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from authapp.shared import Key, Lease

_NOTHING = (float("-inf"), "")


class MemoryShared:
    """``authapp.shared = memory:``, for all threads of one process.

    :param clock: seconds that only grow: a stepped wall clock must forget nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._texts: dict[Key, tuple[float, str]] = {}
        self._ends: list[tuple[float, Key]] = []

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.shared.Shared`."""
        now, texts = self._clock(), []
        for key in keys:
            ends, text = self._texts.get(key, _NOTHING)
            texts.append(text if ends > now else None)
        return texts

    def put(self, key: Key, text: str, seconds: float) -> None:
        """See :class:`authapp.shared.Shared`. Whatever has ended meanwhile is dropped."""
        now = self._clock()
        with self._lock:
            self._texts[key] = (now + seconds, text)
            heapq.heappush(self._ends, (now + seconds, key))
            while self._ends and self._ends[0][0] <= now:
                _, ended = heapq.heappop(self._ends)
                # A key that was put again meanwhile has a later end of its own.
                if self._texts.get(ended, (now + 1,))[0] <= now:
                    del self._texts[ended]

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """See :class:`authapp.shared.Shared`. There is no other process."""
        return nullcontext(Lease.MINE)

    def living(self, *keys: Key) -> list[tuple[Key, str, float]]:
        """What there is under some keys, or all: key, text, and the seconds that it has left."""
        now = self._clock()
        with self._lock:
            found = [(key, self._texts.get(key, _NOTHING)) for key in keys or self._texts]
        return [(key, text, ends - now) for key, (ends, text) in found if ends > now]

    def remembers(self, seconds: float) -> bool:
        """Always: what would make it forget ends the process too."""
        return True

    def healthy(self) -> bool:
        """Always: the process reaches itself."""
        return True

    def __len__(self) -> int:
        return len(self._texts)
