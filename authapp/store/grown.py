"""The greatest strings that a process has read under keys that only grow: revocations.

Somebody who can write to Redis can delete a revocation, or put an older one in its place. Redis
itself does that too, if it evicts keys. A process that has read the revocation still knows it.
"""

import threading

from authapp.store.protocol import Key
from authapp.store.resync import merge

MOST = 40_000
"""The most strings that a process keeps (about 10 MB)."""


class Grown:
    """The strings under keys with :attr:`authapp.store.protocol.Key.grows`."""

    def __init__(self) -> None:
        self._texts: dict[Key, str] = {}
        self._lock = threading.Lock()

    def merge(self, key: Key, text: str | None) -> str | None:
        """Return the greatest string that this process has read under a key.

        :param text: the string that was read now, or None. If the key does not grow, it is the
            result.
        """
        if not key.grows:
            return text
        with self._lock:
            greatest = merge(text, self._texts.pop(key, None))
            if greatest is None:
                return None
            self._texts[key] = greatest
            if len(self._texts) > MOST:
                del self._texts[next(iter(self._texts))]  # the one that was read longest ago
        return greatest

    def __len__(self) -> int:
        return len(self._texts)
