"""The store that all processes share: ``authapp.shared = redis://…``.

authapp serves requests even if Redis is down, slow, full, read-only, emptied or failing over. While
Redis is down, each process uses its own memory instead. Strings that a process stores during that
time are written to Redis later (:mod:`authapp.store.resync`).
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from authapp.store.memory import MemoryStore
from authapp.store.protocol import PATIENCE, Key, Lease, StoreUnavailable
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_encryption import KeyRing, by_tag, tag_of
from authapp.store.redis_inspection import RedisInspection
from authapp.store.redis_leases import RedisLeases
from authapp.store.redis_notices import RedisNotices
from authapp.store.resync import Resync, merge, milliseconds, read_names


class RedisStore:
    """A store in Redis.

    :param connection: the connections to Redis.
    :param secrets: the secrets. Each string is stored once for each secret, encrypted with that
        secret. So two processes that have at least one secret in common can read each other's
        strings. This is needed while secrets are rotated.
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
        self._key_rings = [KeyRing(secret, tagged=connection.clustered) for secret in secrets]
        self._own = MemoryStore()
        self._leases = RedisLeases(connection, self._key_rings, patience)
        self._inspection = RedisInspection(connection, secrets)
        self._notices = RedisNotices(connection, self._check)
        self._resync = Resync(connection, self._key_rings, self._own, self._notices.publish)
        connection.on_data_loss = self._on_data_loss

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.store.protocol.Store`."""
        return self._ask(*keys)[0]

    def recall(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.store.protocol.Store`."""
        # Each secret gives a key another name in Redis. The string is kept under all of these
        # names, because a notice may contain any of them.
        names = [ring.name(key) for ring in self._key_rings for key in keys]
        known = self._notices.known(names)
        if known is not None:
            return known[: len(keys)]
        moment = self._notices.moment()
        texts, asked = self._ask(*keys)
        if asked:
            kept = dict(zip(names, texts * len(self._key_rings), strict=True))
            self._notices.keep(kept, moment)
        return texts

    def _ask(self, *keys: Key) -> tuple[list[str | None], bool]:
        """Read strings from Redis, or from the memory of this process if Redis is down.

        In a cluster, keys may be on several nodes. If one node is down, only the strings of this
        node are read from memory. The other strings are read from Redis, because other processes
        may have changed them.

        :returns: the strings, and True if all of them are from Redis.
        """
        groups: dict[tuple[bytes, ...], list[Key]] = {}
        if self._connection.clustered:
            for key in keys:
                tags = tuple(tag_of(ring.name(key)) for ring in self._key_rings)
                groups.setdefault(tags, []).append(key)
        if len(groups) < 2:
            return self._ask_together(*keys)
        texts: dict[Key, str | None] = {}
        all_asked = True
        for group in groups.values():
            found, asked = self._ask_together(*group)
            texts.update(zip(group, found, strict=True))
            all_asked = all_asked and asked
        return [texts[key] for key in keys], all_asked

    def _ask_together(self, *keys: Key) -> tuple[list[str | None], bool]:
        """Read strings as :meth:`_ask` does, but either all from Redis or all from this process."""
        own, pending = self._own.get(*keys), self._resync.pending.keys() & keys
        try:
            epochs, theirs = self._read(*keys)
        except StoreUnavailable:
            return own, False
        for tag, epoch in epochs.items():
            self._resync.see_epoch(epoch, tag)
        # Pending writes are read before and after the command, because other threads change them.
        pending |= self._resync.pending.keys() & keys
        self._resync.start()
        texts = [
            merge(mine, known) if key in pending or known is None else known
            for key, mine, known in zip(keys, own, theirs, strict=True)
        ]
        return texts, True

    def put(self, key: Key, text: str, seconds: float, *, notify: bool = False) -> None:
        """See :class:`authapp.store.protocol.Store`."""
        names = [ring.name(key) for ring in self._key_rings]
        rings = dict(zip(names, self._key_rings, strict=True))
        self._own.put(key, text, seconds)
        try:
            for tag, group in by_tag(names).items():
                commands = self._redis.pipeline(transaction=False)
                with self._connection.of(tag).command(), commands as pipeline:
                    for name in group:
                        value = rings[name].encrypt(name, text)
                        pipeline.set(name, value, px=milliseconds(seconds))
                    pipeline.execute()
            # In a context of its own, because the first command after an outage ends the outage.
            if notify:
                self._notices.publish(names)
        except StoreUnavailable:
            self._resync.mark_pending(key)
        else:
            self._resync.start()
        self._notices.forget(names)  # this process does not wait for its own notice

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """See :class:`authapp.store.protocol.Store`."""
        return self._leases.lease(key)

    def remembers(self, seconds: float) -> bool:
        """See :class:`authapp.store.protocol.Store`."""
        return self._has_all() and self._connection.remembers(seconds)

    def settles_in(self, key: Key) -> float:
        """See :class:`authapp.store.protocol.Store`."""
        return self._leases.settles_in(key)

    def healthy(self) -> bool:
        """Return True if Redis grants leases and has all strings of this process, on all nodes."""
        # The first check uses one or two nodes of a cluster. The second check is for all nodes.
        return self._has_all() and not self._connection.any_down()

    def _has_all(self) -> bool:
        sure = self._leases.granted()
        self.get()
        if sure and self._resync.pending:
            self._resync.resend()
        return sure and not self._resync.pending

    def problems(self) -> list[str]:
        """See :class:`authapp.store.protocol.Store`."""
        self._check()
        return self._inspection.problems

    def _check(self) -> bool:
        """Check that Redis responds, and inspect Redis once a minute.

        :returns: False if Redis is down.
        """
        answers = self._ask()[1]
        if answers:
            self._inspection.refresh()
        return answers

    def _on_data_loss(self, tags: Collection[bytes] | None) -> None:
        self._notices.forget_all()
        self._resync.mark_all_pending(tags)

    def _read(self, *keys: Key) -> tuple[dict[bytes, object], list[str | None]]:
        """Read the epoch markers and the strings of some keys, with one command for each hash tag.

        :returns: the epoch markers by hash tag, and the strings.
        """
        names = [ring.name(key) for key in keys for ring in self._key_rings]
        epochs, values = read_names(self._connection, names)
        texts = list(map(KeyRing.decrypt, self._key_rings * len(keys), names, values))
        each = len(self._key_rings)
        return epochs, [merge(*texts[at : at + each]) for at in range(0, len(texts), each)]
