"""Accepts a value only once, such as the state of a sign-in or the id of a logout token."""

import threading

from authapp.store.protocol import Key, Lease, Store


class UseOnce:
    """Remembers values that may be used only once, in all processes that share the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def first(self, purpose: str, secret: str, seconds: float) -> bool:
        """Return True if a value is used for the first time.

        :param seconds: the seconds for which a second use returns False.
        """
        key = Key(purpose, secret)
        with self._lock, self._store.lease(key) as lease:
            if lease is Lease.THEIRS or self._store.get(key) != [None]:
                return False
            self._store.put(key, "1", seconds)
            return True
