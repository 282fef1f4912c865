"""Counts failed sign-ins, and delays further sign-ins after too many failures."""

import hmac
import ipaddress
import time
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property
from typing import TypeVar

from limits import RateLimitItem
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from authapp.store.protocol import StoreUnavailable

T = TypeVar("T")
Counters = tuple[Storage, Callable[[], AbstractContextManager[None]]]
"""A storage for counters, and a function that returns a context manager. Each use of the storage
runs inside this context, which raises :class:`~authapp.store.protocol.StoreUnavailable` if the
storage is down."""


def _network(address: str) -> str:
    """Return the address or network under which a failed sign-in is counted.

    For an IPv6 address, this is its /64 network, because one customer of a provider usually has a
    whole /64. For an IPv4-mapped IPv6 address, this is the IPv4 address.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address  # such as the path of a socket
    if not isinstance(found, ipaddress.IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False))


class LoginThrottle:
    """Counts failed sign-ins, and limits the failures in three ways:

    - for one user name from one address: ``rate``,
    - for one address with any user name: ten times ``rate``,
    - for one user name from any address: a hundred times ``rate``. This limit is high, so that an
      attacker cannot easily lock a user out from another address.

    Each process has its own counters. If there is a shared storage, each failure is counted in that
    storage too. While the shared storage is down, each process uses its own counters only.

    :param rate: how many failures per period are allowed for one user name from one address.
    :param key: the key of the HMAC. Names and addresses are stored only as HMAC digests.
    :param shared: the counters that all processes share, or None.
    """

    def __init__(self, rate: RateLimitItem, key: bytes, shared: Counters | None = None) -> None:
        self._key = key
        self._shared = shared
        self._limits = [
            type(rate)(rate.amount * factor, rate.multiples, namespace)
            for factor, namespace in ((1, "name+address"), (10, "address"), (100, "name"))
        ]

    @cached_property
    def _counters(self) -> list[tuple[RateLimiter, Callable[[], AbstractContextManager[None]]]]:
        # MemoryStorage starts a thread. A server may fork before the first request, but not after.
        own: Counters = (MemoryStorage(), nullcontext)
        return [
            (FixedWindowRateLimiter(storage), guard)
            for storage, guard in ([own, self._shared] if self._shared else [own])
        ]

    def wait(self, name: str, address: str) -> int:
        """Return how many seconds to wait before a sign-in may be tried.

        :param name: the user name, as typed.
        :param address: the IP address of the browser.
        :returns: whole seconds, or 0 if the sign-in may be tried now.
        """

        def longest(counter: RateLimiter) -> int:
            reached = [each for each in self._keyed(name, address) if not counter.test(*each)]
            ends = [counter.get_window_stats(*each).reset_time for each in reached]
            return max((int(end - time.time()) + 1 for end in ends), default=0)

        return max(self._with_each(longest))

    def failed(self, name: str, address: str) -> None:
        """Count a failed sign-in.

        :param name: the user name, as typed.
        :param address: the IP address of the browser.
        """
        self._with_each(lambda counter: [counter.hit(*each) for each in self._keyed(name, address)])

    def _with_each(self, use: Callable[[RateLimiter], T]) -> list[T]:
        """Call a function with each counter, except counters whose storage is down."""
        results = []
        for counter, guard in self._counters:
            with suppress(StoreUnavailable), guard():
                results.append(use(counter))
        return results

    def _keyed(self, name: str, address: str) -> list[tuple[RateLimitItem, str]]:
        """Return three pairs: each of the three limits, with the key of its counter."""
        # Some backends treat "Alice" and "alice" as one user, so the two spellings share one limit.
        name = unicodedata.normalize("NFKC", name).casefold().strip()
        address = _network(address)
        keys = (f"{address} {name}", address, name)
        return list(zip(self._limits, map(self._digest, keys), strict=True))

    def _digest(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), "sha256").hex()
