"""Leases in Redis: at most one process at a time works on a key.

A lease consists of one redis-py lock for each secret. While secrets are rotated, processes have
different lists of secrets. Any two lists have a secret in common. So any two processes need the
same lock, and only one of them gets it.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from redis.exceptions import LockError
from redis.lock import Lock

from authapp.store.protocol import Key, Lease, StoreUnavailable
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_encryption import KeyRing, tag_of

log = logging.getLogger(__name__)

LEASE = 4.0
"""Seconds for which a lease lasts. While a process works, it extends its lease. If the process
dies, the lease expires."""

SETTLE = 1.5
"""Seconds after an outage until a process spends a token again. In this time, each process tells
Redis what it did during the outage: :meth:`RedisLeases._keep` extends its leases, and
:meth:`authapp.store.resync.Resync._run` writes its strings."""

_TRY_AGAIN = 0.05
"""Seconds between two attempts to take a lease while Redis is stalled."""


class RedisLeases:
    """Takes, extends and releases leases.

    :param patience: if Redis grants no lease for this many seconds, this process works alone.
    """

    def __init__(
        self, connection: RedisConnection, key_rings: Sequence[KeyRing], patience: float
    ) -> None:
        self._connection = connection
        self._key_rings = key_rings
        self._patience = patience
        #: The times of the first and of the last attempt since Redis grants no lease.
        self._unsure_times: dict[tuple[RedisConnection, ...], tuple[float, float]] = {}
        self._alone: set[tuple[RedisConnection, ...]] = set()

    @contextmanager
    def lease(self, key: Key) -> Iterator[Lease]:
        """See :meth:`authapp.store.protocol.Store.lease`."""
        locks = self._locks(key)
        try:
            lease = self._acquire(locks)
            with nullcontext() if lease is Lease.THEIRS else self._extended(locks):
                yield lease
        finally:
            self._release(locks)

    def granted(self) -> bool:
        """Return True if Redis grants leases at present."""
        locks = self._locks(Key("health check", uuid.uuid4().hex))
        sure = self._acquire(locks) in (Lease.MINE, Lease.THEIRS)
        self._release(locks)
        return sure

    def _locks(self, key: Key) -> list[Lock]:
        key = Key(f"lease of {key.purpose}", key.secret, key.group)
        # All processes take the locks in the same order, whatever the order of their secrets.
        names = sorted(ring.name(key).decode() for ring in self._key_rings)
        return [self._connection.client.lock(name, LEASE, thread_local=False) for name in names]

    def _acquire(self, locks: list[Lock]) -> Lease:
        while True:
            parts = tuple(map(self._part, locks))
            try:
                lease = Lease.MINE if all(map(self._take, locks)) else Lease.THEIRS
                self._unsure_times.pop(parts, None)
                self._alone.discard(parts)
                return lease
            except (StoreUnavailable, LockError):  # LockError: Redis has lost the lock
                if not any(part.stalled for part in parts):
                    return self._unsure(parts)
            # Redis is only stalled. Other processes may not notice that, and may still use leases.
            time.sleep(_TRY_AGAIN)

    def _part(self, lock: Lock) -> RedisConnection:
        return self._connection.of(tag_of(str(lock.name).encode()))

    def _take(self, lock: Lock) -> bool:
        with self._part(lock).command():
            return _acquire_or_extend(lock)

    def settles_in(self, key: Key) -> float:
        """See :meth:`authapp.store.protocol.Store.settles_in`."""
        if not self._patience:
            return 0.0
        return max(
            self._connection.of(tag_of(ring.name(key))).up_in(SETTLE) for ring in self._key_rings
        )

    def _unsure(self, parts: tuple[RedisConnection, ...]) -> Lease:
        """Return ``ALONE`` if Redis has granted no lease for ``patience`` seconds, else ``UNSURE``.

        The time starts again if Redis was up meanwhile. It also starts again if no request has
        asked for a lease for ``patience`` seconds (:data:`LEASE` seconds, if that is longer),
        because Redis may have been up in that pause.
        """
        now = time.monotonic()
        since, last = self._unsure_times.get(parts, (now, now))
        if now - last > max(self._patience, LEASE):
            since = now
            self._alone.discard(parts)
        self._unsure_times[parts] = since, now
        waited = now - since
        lost = not all(part.remembers(self._patience) for part in parts)
        if waited < self._patience or lost:
            return Lease.UNSURE
        if parts not in self._alone:
            self._alone.add(parts)
            log.error(
                "StoreAlone: no lease at %s for %d seconds; this process renews on its own",
                self._connection.address,
                waited,
            )
        return Lease.ALONE

    def _release(self, locks: list[Lock]) -> None:
        for lock in locks:
            if lock.local.token is not None:
                with suppress(LockError, StoreUnavailable), self._part(lock).command():
                    lock.release()

    @contextmanager
    def _extended(self, locks: list[Lock]) -> Iterator[None]:
        """Extend the locks regularly until this context ends."""
        done = threading.Event()
        extender = threading.Thread(target=self._keep, args=(locks, done), daemon=True)
        extender.start()
        try:
            yield
        finally:
            done.set()
            extender.join()

    def _keep(self, locks: list[Lock], done: threading.Event) -> None:
        while not done.wait(LEASE / 8):
            for lock in locks:
                with suppress(LockError, StoreUnavailable):
                    self._take(lock)


def _acquire_or_extend(lock: Lock) -> bool:
    """Take a lock, or extend a lock that this process has. Return True if this succeeds."""
    if lock.local.token is not None:
        with suppress(LockError):
            return bool(lock.extend(LEASE, replace_ttl=True))
    # Redis may take the lock although its reply is late. With the token set, the lock is released.
    token = uuid.uuid4().hex
    lock.local.token = token.encode()
    if not lock.acquire(blocking=False, token=token):
        lock.local.token = None
        return False
    return bool(lock.extend(LEASE, replace_ttl=True))  # fails if scripts are not permitted
