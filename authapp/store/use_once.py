"""Accepts a value only once, such as the id of a sign-in or of a logout token."""

import threading

from authapp.store.protocol import Key, Lease, Store


class UseOnce:
    """Remembers values that may be used only once, in all processes that share the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def first(self, purpose: str, secret: str, seconds: float) -> bool:
        """Use a value, and return True if it is used for the first time.

        If several requests use a value at the same time, at most one of them gets True.

        :param seconds: the seconds for which a second use returns False.
        """
        key = Key(purpose, secret)
        with self._lock, self._store.lease(key) as lease:
            if lease is Lease.THEIRS or self.used(purpose, secret):
                return False
            self._store.put(key, "1", seconds)
            return True

    def used(self, purpose: str, secret: str) -> bool:
        """Return True if a value was used already. This method does not use the value."""
        return self._store.get(Key(purpose, secret)) != [None]
