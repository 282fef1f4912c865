"""The store that all processes share: ``authapp.shared = redis://…``.

Whatever happens to Redis (down, slow, full, read-only, emptied, failed over), requests are
answered. While Redis cannot be asked, the process uses its own memory. What it puts meanwhile
is written to Redis later (:mod:`authapp.store.resync`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from authapp.store.key_ring import KeyRing
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, Lease, StoreUnavailable
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_leases import RedisLeases
from authapp.store.resync import EPOCH, Resync, merge, milliseconds


class RedisStore:
    """A store in Redis.

    :param secrets: each one encrypts and decrypts a copy of every text. So processes that have
        a new secret already and processes that do not have it yet understand each other.
    """

    def __init__(self, connection: RedisConnection, secrets: Sequence[bytes]) -> None:
        self._connection = connection
        self._redis = connection.client
        self._key_rings = [KeyRing(secret) for secret in secrets]
        self._own = MemoryStore()
        self._leases = RedisLeases(connection, self._key_rings)
        self._resync = Resync(connection, self._key_rings, self._own)

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.store.protocol.Store`."""
        own, pending = self._own.get(*keys), self._resync.pending.keys() & keys
        try:
            with self._connection.command():
                epoch, theirs = self._ask(*keys)
        except StoreUnavailable:
            return own
        self._resync.see_epoch(epoch)
        # Before and after the question: a write may have become pending, or be done, meanwhile.
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

    def healthy(self) -> bool:
        """Whether Redis gives leases and has everything this process has put."""
        sure = self._leases.work()
        self.get()
        if sure and self._resync.pending:
            self._resync.resend()
        return sure and not self._resync.pending

    def _ask(self, *keys: Key) -> tuple[object, list[str | None]]:
        """Read the epoch marker, and the texts under some keys, in one command."""
        names = [ring.name(key) for key in keys for ring in self._key_rings]
        epoch, *values = self._redis.mget([EPOCH, *names])
        texts = list(map(KeyRing.decrypt, self._key_rings * len(keys), names, values))
        each = len(self._key_rings)
        return epoch, [merge(*texts[at : at + each]) for at in range(0, len(texts), each)]
