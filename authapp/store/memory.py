"""The store of one process: ``authapp.shared = memory:``."""

import heapq
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from authapp.store.protocol import Key, Lease

_NOTHING = (float("-inf"), "")


class MemoryStore:
    """A store for all threads of one process.

    :param clock: returns seconds and never goes back: a wall clock that is set must not make
        the store forget anything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._texts: dict[Key, tuple[float, str]] = {}
        self._ends: list[tuple[float, Key]] = []

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.store.protocol.Store`."""
        now, texts = self._clock(), []
        for key in keys:
            ends, text = self._texts.get(key, _NOTHING)
            texts.append(text if ends > now else None)
        return texts

    def put(self, key: Key, text: str, seconds: float) -> None:
        """See :class:`authapp.store.protocol.Store`. This also drops what has expired."""
        now = self._clock()
        with self._lock:
            self._texts[key] = (now + seconds, text)
            heapq.heappush(self._ends, (now + seconds, key))
            while self._ends and self._ends[0][0] <= now:
                _, expired = heapq.heappop(self._ends)
                # A key that was put again meanwhile has a later end.
                if self._texts.get(expired, (now + 1,))[0] <= now:
                    del self._texts[expired]

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """See :class:`authapp.store.protocol.Store`. There is no other process."""
        return nullcontext(Lease.MINE)

    def living(self, *keys: Key) -> list[tuple[Key, str, float]]:
        """The unexpired texts under some keys, or under all: key, text, seconds that are left."""
        now = self._clock()
        with self._lock:
            found = [(key, self._texts.get(key, _NOTHING)) for key in keys or self._texts]
        return [(key, text, ends - now) for key, (ends, text) in found if ends > now]

    def remembers(self, seconds: float) -> bool:
        """Always true: only the end of the process empties this store."""
        return True

    def healthy(self) -> bool:
        """Always true."""
        return True

    def __len__(self) -> int:
        return len(self._texts)
