"""The store that all processes share: ``authapp.shared = redis://…``.

authapp serves requests even if Redis is down, slow, full, read-only, emptied or failing over. While
Redis is down, each process uses its own memory instead. Strings that a process stores during that
time are written to Redis later (:mod:`authapp.store.resync`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from authapp.store.key_ring import KeyRing
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, Lease, StoreUnavailable
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_leases import PATIENCE, RedisLeases
from authapp.store.resync import EPOCH, Resync, merge, milliseconds


class RedisStore:
    """A store in Redis.

    :param connection: the connections to Redis.
    :param secrets: every string is stored once for each secret, encrypted with that secret. So two
        processes that have at least one secret in common can read each other's strings. This is
        needed while secrets are rotated.
    :param patience: see :class:`RedisLeases`.
    """

    def __init__(
        self,
        connection: RedisConnection,
        secrets: Sequence[bytes],
        patience: float = PATIENCE,
    ) -> None:
        self._connection = connection
        self._redis = connection.client
        self._key_rings = [KeyRing(secret) for secret in secrets]
        self._own = MemoryStore()
        self._leases = RedisLeases(connection, self._key_rings, patience)
        self._resync = Resync(connection, self._key_rings, self._own)

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.store.protocol.Store`."""
        own, pending = self._own.get(*keys), self._resync.pending.keys() & keys
        try:
            with self._connection.command():
                epoch, theirs = self._read(*keys)
        except StoreUnavailable:
            return own
        self._resync.see_epoch(epoch)
        # Pending writes are read before and after the command, because other threads change them.
        pending |= self._resync.pending.keys() & keys
        self._resync.start()
        return [
            merge(mine, known) if key in pending or known is None else known
            for key, mine, known in zip(keys, own, theirs, strict=True)
        ]

    def put(self, key: Key, text: str, seconds: float) -> None:
        """See :class:`authapp.store.protocol.Store`."""
        self._own.put(key, text, seconds)
        try:
            with self._connection.command(), self._redis.pipeline(transaction=False) as pipeline:
                for ring in self._key_rings:
                    name = ring.name(key)
                    pipeline.set(name, ring.encrypt(name, text), px=milliseconds(seconds))
                pipeline.execute()
        except StoreUnavailable:
            self._resync.mark_pending(key)
        else:
            self._resync.start()

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """See :class:`authapp.store.protocol.Store`."""
        return self._leases.lease(key)

    def remembers(self, seconds: float) -> bool:
        """See :class:`authapp.store.protocol.Store`."""
        return self.healthy() and self._connection.remembers(seconds)

    def settles_in(self) -> float:
        """See :class:`authapp.store.protocol.Store`."""
        return self._leases.settles_in()

    def healthy(self) -> bool:
        """Return True if Redis grants leases and has all strings of this process."""
        sure = self._leases.work()
        self.get()
        if sure and self._resync.pending:
            self._resync.resend()
        return sure and not self._resync.pending

    def _read(self, *keys: Key) -> tuple[object, list[str | None]]:
        """Read the epoch marker and the strings of some keys with one command."""
        names = [ring.name(key) for key in keys for ring in self._key_rings]
        epoch, *values = self._redis.mget([EPOCH, *names])
        texts = list(map(KeyRing.decrypt, self._key_rings * len(keys), names, values))
        each = len(self._key_rings)
        return epoch, [merge(*texts[at : at + each]) for at in range(0, len(texts), each)]
