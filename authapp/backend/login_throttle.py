"""Failed sign-ins are counted, and too many of them are not tried any more."""

import hmac
import time
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeVar

from limits import RateLimitItem
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from authapp.store.protocol import StoreUnavailable

T = TypeVar("T")
Counters = tuple[Storage, Callable[[], AbstractContextManager[None]]]
"""A storage that counts, and what to put around every question to it."""


class LoginThrottle:
    """Counts failures for a name from an address, for the address, and for the name.

    A stranger who hammers a name from elsewhere does not lock its owner out: the limit of
    a name from anywhere is a hundred times that of a name from one address.

    Each failure is counted in this process, and in the shared memory where there is one:
    while that is away, this process's own count neither opens the door nor closes the site.

    :param rate: how many failures of one name from one address are allowed.
    :param key: for the digests that stand for names and addresses.
    :param shared: the counters that others count with too.
    """

    def __init__(self, rate: RateLimitItem, key: bytes, shared: Counters | None = None) -> None:
        self._key = key
        own: Counters = (MemoryStorage(), nullcontext)
        self._counters = [
            (FixedWindowRateLimiter(storage), asking)
            for storage, asking in ([own, shared] if shared else [own])
        ]
        self._limits = [
            type(rate)(rate.amount * factor, rate.multiples, namespace)
            for factor, namespace in ((1, "name+address"), (10, "address"), (100, "name"))
        ]

    def wait(self, name: str, address: str) -> int:
        """Seconds until a sign-in may be tried; 0 when it may now."""

        def longest(counter: RateLimiter) -> int:
            full = [each for each in self._keyed(name, address) if not counter.test(*each)]
            ends = [counter.get_window_stats(*each).reset_time for each in full]
            return max((int(end - time.time()) + 1 for end in ends), default=0)

        return max(self._ask(longest))

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        self._ask(lambda counter: [counter.hit(*each) for each in self._keyed(name, address)])

    def _ask(self, question: Callable[[RateLimiter], T]) -> list[T]:
        answers = []
        for counter, asking in self._counters:
            with suppress(StoreUnavailable), asking():
                answers.append(question(counter))
        return answers

    def _keyed(self, name: str, address: str) -> list[tuple[RateLimitItem, str]]:
        # Backends that take "Alice" for "alice" give nobody more tries than others.
        name = unicodedata.normalize("NFKC", name).casefold().strip()
        keys = (f"{address} {name}", address, name)
        return list(zip(self._limits, map(self._digest, keys), strict=True))

    def _digest(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), "sha256").hex()
