"""Write strings to Redis again after Redis has lost data or has not accepted a write.

Each process keeps a copy of the strings that it has stored in Redis. A **pending write** is a
string that Redis may not contain now, for one of two reasons: Redis was down or full when the
string was stored, or Redis has lost data since then. A thread, the **resync**, compares the pending
writes with Redis and writes the missing strings.

The **epoch marker** is a key with a random value. If Redis has lost its data, the marker is missing
or has another value.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from heapq import nlargest
from itertools import count
from typing import Any

from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, StoreUnavailable
from authapp.store.redis_connection import PAUSE, RedisConnection
from authapp.store.redis_encryption import TAGS, KeyRing, by_tag, tag_of

log = logging.getLogger(__name__)

EPOCH = b"authapp:mark"
"""The key of the epoch marker."""

EPOCH_LIFE = 86_400
"""Seconds after which the epoch marker expires. All strings are then compared with Redis again."""

FLUSH_ON_SHUTDOWN = 3.0
"""Seconds for which a process that is shutting down continues to write its pending writes."""

_BATCH = 500

_REPLACE = """
local replaced = 0
for number, name in ipairs(KEYS) do
  local known = redis.call('MGET', name)[1] or ''
  if known == ARGV[3 * number - 2] then
    redis.call('SET', name, ARGV[3 * number - 1], 'PX', ARGV[3 * number])
    replaced = replaced + 1
  end
end
return replaced
"""
"""A Lua script that writes values, each with a time to live in milliseconds. The script writes a
value only if Redis still has the value that was read before. It returns the number of values that
it has written."""


class Resync:
    """The pending writes of one process, and the thread that writes them.

    :param own: the memory of this process. It has every string that the process has stored.
    :param publish: tells all processes that the strings under some key names have changed.
    """

    def __init__(
        self,
        connection: RedisConnection,
        key_rings: Sequence[KeyRing],
        own: MemoryStore,
        publish: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._connection = connection
        self._redis = connection.client
        self._replace: Callable[..., int] = self._redis.register_script(_REPLACE)
        self._key_rings = key_rings
        self._own = own
        self._publish = publish
        #: The keys of pending writes, each with the number of the change that made it pending.
        self.pending: dict[Key, int] = {}
        self._epochs: dict[bytes, object] = {}
        self.thread: threading.Thread | None = None
        self._changes = count()
        self._lock = threading.Lock()

    @property
    def epoch(self) -> object:
        """The epoch marker without a hash tag, as it was read last."""
        return self._epochs.get(b"")

    def see_epoch(self, epoch: object, tag: bytes = b"") -> None:
        """Compare the present epoch marker with the epoch marker that was read before.

        If they differ, Redis may have lost data, and the strings of this process become pending.

        :param epoch: the present marker, or None if Redis has no marker.
        :param tag: the hash tag of the marker. A cluster has a marker for each hash tag.
        """
        if epoch is None or epoch != self._epochs.get(tag):
            self._detect_data_loss(epoch, tag)

    def _detect_data_loss(self, epoch: object, tag: bytes) -> None:
        """Handle an epoch marker that is missing or has changed, and mark strings as pending.

        A missing marker is set. If this process has read another marker before, the connection is
        told that Redis has lost data.
        """
        if self._epochs.pop(tag, None) is not None:
            self._connection.of(tag).lost_data()
        with suppress(StoreUnavailable), self._connection.of(tag).command():
            if epoch is None:
                epoch = os.urandom(16).hex().encode()
                if not self._redis.set(EPOCH + tag, epoch, ex=EPOCH_LIFE, nx=True):
                    return  # another process has set its marker, which is read next time
            self._epochs[tag] = epoch
            self.mark_all_pending({tag})  # includes strings from before the first marker was read

    def mark_all_pending(self, tags: Collection[bytes] | None = None) -> None:
        """Mark all strings of this process as pending, because Redis may have lost them.

        :param tags: mark only the strings whose keys have one of these hash tags. None: mark all.
        """
        keys = [key for key, *_ in self._own.living()]
        if tags is not None:
            rings = self._key_rings
            keys = [key for key in keys if any(tag_of(ring.name(key)) in tags for ring in rings)]
        self.mark_pending(*keys)

    def mark_pending(self, *keys: Key) -> None:
        """Mark the strings under these keys as pending: Redis may have lost or never had them."""
        with self._lock:
            self.pending.update((key, next(self._changes)) for key in keys)
        self.start()

    def start(self) -> None:
        """Start the resync thread if writes are pending. It continues even if no requests come."""
        if not self.pending:
            return
        with self._lock:
            if self.pending and (self.thread is None or not self.thread.is_alive()):
                self.thread = threading.Thread(target=self._run, daemon=False)
                with suppress(RuntimeError):  # no thread can be started now, so try next time
                    self.thread.start()

    def _run(self) -> None:
        ends_at = float("inf")
        while time.monotonic() < ends_at:
            done = self.resend()
            with self._lock:
                if not self.pending:
                    self.thread = None
                    return
            if not threading.main_thread().is_alive():
                ends_at = min(ends_at, time.monotonic() + FLUSH_ON_SHUTDOWN)
            if not done:
                with self._lock:
                    for key in self.pending.keys() - {key for key, *_ in self._own.living()}:
                        del self.pending[key]  # the string has expired
                time.sleep(PAUSE)

    def resend(self) -> bool:
        """Write a batch of pending writes, the newest first.

        :returns: True if Redis accepted the batch.
        """
        with self._lock:
            pending = dict(self.pending)
        batch = nlargest(_BATCH, pending, key=pending.__getitem__)
        groups: dict[bytes, list[Key]] = {}
        for key in batch:
            groups.setdefault(tag_of(self._key_rings[0].name(key)), []).append(key)
        # In a cluster, one node may be down. The other nodes still get their strings.
        done = [self._resend(keys, pending) for keys in groups.values()]
        return all(done)

    def _resend(self, keys: list[Key], pending: dict[Key, int]) -> bool:
        """Write the pending strings under some keys.

        :param pending: each key of a pending write -> the number of the change that made it
            pending. If this number changes meanwhile, the key stays pending.
        :returns: True if Redis now has all of these strings.
        """
        done = False
        with suppress(StoreUnavailable):
            written = self._write_missing(keys)
            # Also publish strings that Redis already has: other processes may not know them.
            self._publish([ring.name(key) for key in keys for ring in self._key_rings])
            done = written
        with self._lock:
            for key in keys:
                # If a key has changed since, its new string is still pending.
                if self.pending.get(key) == pending[key]:
                    if done:
                        del self.pending[key]
                    elif self._connection.clustered:  # so the other keys are tried first
                        self.pending[key] = -next(self._changes)
        return done

    def _write_missing(self, keys: list[Key]) -> bool:
        """Write strings of this process that Redis does not have.

        If Redis has another string under a key, the greater string is kept.

        :returns: True. False if another process has changed one of the keys at the same time.
        """
        places = [(key, ring, ring.name(key)) for key in keys for ring in self._key_rings]
        _, values = read_names(self._connection, [name for *_, name in places])
        # Own strings are read last. A string that is stored later is written to Redis later, too.
        own = {key: (text, seconds) for key, text, seconds in self._own.living(*keys)}
        # By hash tag, because all keys of a script must be on one node.
        missing: dict[bytes, tuple[list[bytes], list[Any]]] = {}
        for (key, ring, name), theirs in zip(places, values, strict=True):
            known, (text, seconds) = ring.decrypt(name, theirs), own.get(key, (None, 0.0))
            if text is not None and merge(text, known) != known:
                names, arguments = missing.setdefault(tag_of(name), ([], []))
                names.append(name)
                arguments += [theirs or b"", ring.encrypt(name, text), milliseconds(seconds)]
        written = True
        for tag, (names, arguments) in missing.items():
            with self._connection.of(tag).command():
                written &= self._replace(names, arguments) == len(names)
        return written


def read_names(
    connection: RedisConnection, names: Sequence[bytes]
) -> tuple[dict[bytes, object], list[object]]:
    """Read values from Redis, with one command for each hash tag in the names.

    Each command also reads the epoch marker of its hash tag. Without names, only one epoch marker
    is read.

    :returns: a dictionary of hash tag -> epoch marker, and the values in the order of their names.
    :raises StoreUnavailable: if Redis is down or refuses.
    """
    groups = by_tag(names)
    if not groups:
        groups[random.choice(TAGS) if connection.clustered else b""] = []  # noqa: S311
    epochs: dict[bytes, object] = {}
    values: dict[bytes, object] = {}
    for tag, group in groups.items():
        with connection.of(tag).command():
            epochs[tag], *found = connection.client.mget([EPOCH + tag, *group])
        values.update(zip(group, found, strict=True))
    return epochs, [values[name] for name in names]


def milliseconds(seconds: float) -> int:
    """Convert a time to live from seconds to whole milliseconds, at least one, for Redis."""
    return max(1, int(seconds * 1000))


def merge(*texts: str | None) -> str | None:
    """Choose between strings that several processes have stored under the same key.

    See :meth:`authapp.store.protocol.Store.put`.

    :returns: the greatest string, or None if there is no string.
    """
    return max((text for text in texts if text is not None), default=None)
