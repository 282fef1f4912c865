"""Leases in Redis: at most one process at a time does something.

A lease is a lock of redis-py for each secret, so that processes which have different secrets
while those are rotated still share one of the locks.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from redis.exceptions import LockError
from redis.lock import Lock

from authapp.store.key_ring import KeyRing
from authapp.store.protocol import Key, Lease, StoreUnavailable
from authapp.store.redis_connection import RedisConnection

LEASE = 4.0
"""Seconds after which the lease of a process that died ends."""

_TRY_AGAIN = 0.05
"""Seconds between two attempts to take a lease while Redis is stalled."""


class RedisLeases:
    """Takes, keeps and gives back leases."""

    def __init__(self, connection: RedisConnection, key_rings: Sequence[KeyRing]) -> None:
        self._connection = connection
        self._key_rings = key_rings

    @contextmanager
    def lease(self, key: Key) -> Iterator[Lease]:
        """See :meth:`authapp.store.protocol.Store.lease`."""
        locks = self._locks(key)
        try:
            lease = self._take(locks)
            with nullcontext() if lease is Lease.THEIRS else self._kept(locks):
                yield lease
        finally:
            self._give_back(locks)

    def work(self) -> bool:
        """Whether Redis gives leases right now."""
        locks = self._locks(Key("health check", uuid.uuid4().hex))
        sure = self._take(locks) is not Lease.UNSURE
        self._give_back(locks)
        return sure

    def _locks(self, key: Key) -> list[Lock]:
        key = Key(f"lease of {key.purpose}", key.secret)
        # Sorted, so that two processes take them in the same order whatever that of the secrets.
        names = sorted(ring.name(key).decode() for ring in self._key_rings)
        return [self._connection.client.lock(name, LEASE, thread_local=False) for name in names]

    def _take(self, locks: list[Lock]) -> Lease:
        while True:
            try:
                with self._connection.command():
                    return Lease.MINE if all(map(_hold, locks)) else Lease.THEIRS
            except (StoreUnavailable, LockError):  # LockError: Redis lost the lease at once
                if not self._connection.stalled:
                    return Lease.UNSURE
            time.sleep(_TRY_AGAIN)  # other processes may not have noticed the stall

    def _give_back(self, locks: list[Lock]) -> None:
        for lock in locks:
            if lock.local.token is not None:
                with suppress(LockError, StoreUnavailable), self._connection.command():
                    lock.release()

    @contextmanager
    def _kept(self, locks: list[Lock]) -> Iterator[None]:
        """Extend the locks until this context ends, however long that takes."""
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(locks, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def _keep(self, locks: list[Lock], done: threading.Event) -> None:
        while not done.wait(LEASE / 4):
            for lock in locks:
                with suppress(LockError, StoreUnavailable), self._connection.command():
                    _hold(lock)


def _hold(lock: Lock) -> bool:
    """Take a lock, or extend it. Returns whether it is held."""
    if lock.local.token is not None:
        with suppress(LockError):
            return bool(lock.extend(LEASE, replace_ttl=True))
    # The token is set before: the lock may be taken although no answer came in time.
    token = uuid.uuid4().hex
    lock.local.token = token.encode()
    if not lock.acquire(blocking=False, token=token):
        lock.local.token = None
        return False
    return bool(lock.extend(LEASE, replace_ttl=True))  # fails where scripts are forbidden
