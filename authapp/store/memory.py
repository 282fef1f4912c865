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

    :param clock: returns seconds and never goes back. A wall clock is not suitable: if somebody
        sets it forward, entries expire too early.
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

    recall = get
    """Like ``get``: no other process changes a string, so no string in memory is out of date."""

    def put(self, key: Key, text: str, seconds: float, *, notify: bool = False) -> None:
        """See :class:`authapp.store.protocol.Store`. Expired entries are removed."""
        now = self._clock()
        with self._lock:
            self._texts[key] = (now + seconds, text)
            heapq.heappush(self._ends, (now + seconds, key))
            while self._ends and self._ends[0][0] <= now:
                _, expired = heapq.heappop(self._ends)
                # A key that was stored again has a later expiry time.
                if self._texts.get(expired, (now + 1,))[0] <= now:
                    del self._texts[expired]

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """See :class:`authapp.store.protocol.Store`. The lease is always ``MINE``."""
        return nullcontext(Lease.MINE)

    def living(self, *keys: Key) -> list[tuple[Key, str, float]]:
        """Return the entries that have not expired.

        :param keys: the keys to look up. Without keys, all entries are returned.
        :returns: for each entry the key, the string, and the seconds until the entry expires.
        """
        now = self._clock()
        with self._lock:
            found = [(key, self._texts.get(key, _NOTHING)) for key in keys or self._texts]
        return [(key, text, ends - now) for key, (ends, text) in found if ends > now]

    def remembers(self, seconds: float) -> bool:
        """Return True. This store loses nothing while the process runs."""
        return True

    def settles_in(self, key: Key) -> float:
        """Return 0. No other process uses this store."""
        return 0.0

    def problems(self) -> list[str]:
        """Return no problems."""
        return []

    def healthy(self) -> bool:
        """Return True. No other process uses this store."""
        return True

    def __len__(self) -> int:
        return len(self._texts)
