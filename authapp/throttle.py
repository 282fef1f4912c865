"""Failed sign-ins are counted, and too many of them are not tried any more."""

import time

from limits import RateLimitItem
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter


class Throttle:
    """Counts failures for a name from an address, for the address, and for the name.

    A stranger who hammers a name from elsewhere does not lock its owner out: the limit of
    a name from anywhere is a hundred times that of a name from one address.

    :param rate: how many failures of one name from one address are allowed.
    """

    def __init__(self, rate: RateLimitItem, storage: Storage | None = None) -> None:
        self._limiter = FixedWindowRateLimiter(storage or storage_from_string("memory://"))
        self._limits = [
            type(rate)(rate.amount * factor, rate.multiples, namespace)
            for factor, namespace in ((1, "name+address"), (10, "address"), (100, "name"))
        ]

    def wait(self, name: str, address: str) -> int:
        """Seconds until a sign-in may be tried; 0 when it may now."""
        waits = [
            self._limiter.get_window_stats(limit, *key).reset_time - time.time()
            for limit, key in self._keyed(name, address)
            if not self._limiter.test(limit, *key)
        ]
        return max(1, *(int(wait) + 1 for wait in waits)) if waits else 0

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        for limit, key in self._keyed(name, address):
            self._limiter.hit(limit, *key)

    def _keyed(self, name: str, address: str) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        keys = ((name, address), (address,), (name,))
        return list(zip(self._limits, keys, strict=True))
