"""What happens when Redis comes back empty, or missed a write: it is written again.

Each process keeps what it has put in its own memory too. A **pending write** is a text of this
process that Redis may not have: Redis was down or full when it was put, or has lost data since.
A thread, the **resync**, compares the pending writes with Redis and writes what is missing.

An **epoch marker**, a key with a random value, shows that Redis lost its data: the marker is
then gone or another one.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from heapq import nlargest
from itertools import count
from typing import Any

from authapp.store.key_ring import KeyRing
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, StoreUnavailable
from authapp.store.redis_connection import PAUSE, RedisConnection

log = logging.getLogger(__name__)

EPOCH = b"authapp:mark"
"""The key of the epoch marker."""

EPOCH_LIFE = 86_400
"""Seconds after which the marker expires. Everything is then compared once more."""

FLUSH_ON_SHUTDOWN = 3.0
"""Seconds for which a process that ends goes on trying to write what is pending."""

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
"""Writes values, with milliseconds to live, where Redis still has the value that was compared."""


class Resync:
    """The pending writes of one process, and the thread that writes them.

    :param own: what this process has put.
    """

    def __init__(
        self, connection: RedisConnection, key_rings: Sequence[KeyRing], own: MemoryStore
    ) -> None:
        self._connection = connection
        self._redis = connection.client
        self._replace = self._redis.register_script(_REPLACE)
        self._key_rings = key_rings
        self._own = own
        #: The keys of pending writes, each with the number of the change that made it pending.
        self.pending: dict[Key, int] = {}
        self.epoch: object = None
        self.thread: threading.Thread | None = None
        self._changes = count()
        self._lock = threading.Lock()
        connection.on_data_loss = self._mark_all_pending

    def see_epoch(self, epoch: object) -> None:
        """Compare the epoch marker that a question has read with the one from before.

        :param epoch: the marker, or None if there is none.
        """
        if epoch is None or epoch != self.epoch:
            self._detect_data_loss(epoch)

    def _detect_data_loss(self, epoch: object) -> None:
        """Redis has no epoch marker, or another one: it was emptied or restarted."""
        if self.epoch is not None:
            self.epoch = None
            self._connection.lost_data()
        with suppress(StoreUnavailable), self._connection.command():
            if epoch is None:
                epoch = os.urandom(16).hex().encode()
                if not self._redis.set(EPOCH, epoch, ex=EPOCH_LIFE, nx=True):
                    return  # another process was faster; its marker is seen next time
            self.epoch = epoch
            self._mark_all_pending()  # what was put before the first marker was seen, too

    def _mark_all_pending(self) -> None:
        self.mark_pending(*(key for key, *_ in self._own.living()))

    def mark_pending(self, *keys: Key) -> None:
        """Redis may not have what this process has under these keys."""
        with self._lock:
            self.pending.update((key, next(self._changes)) for key in keys)
        self.start()

    def start(self) -> None:
        """Start the thread if something is pending, even if no further request comes."""
        if not self.pending:
            return
        with self._lock:
            if self.pending and (self.thread is None or not self.thread.is_alive()):
                self.thread = threading.Thread(target=self._run, daemon=False)
                with suppress(RuntimeError):  # no more threads can be started: try next time
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
                        del self.pending[key]  # its time to live is over
                time.sleep(PAUSE)

    def resend(self) -> bool:
        """Write a batch of what is pending, the newest first.

        :returns: whether Redis took it.
        """
        with self._lock:
            pending = dict(self.pending)
        batch = nlargest(_BATCH, pending, key=pending.__getitem__)
        done = False
        with suppress(StoreUnavailable), self._connection.command():
            done = self._write_missing(batch)
        if done:
            with self._lock:
                for key in batch:
                    # It stays pending if it has changed meanwhile.
                    if self.pending.get(key) == pending[key]:
                        del self.pending[key]
        return done

    def _write_missing(self, keys: list[Key]) -> bool:
        """Write own texts where Redis has none, or one that merges to ours.

        :returns: False if another process wrote one of the keys at the same moment.
        """
        places = [(key, ring, ring.name(key)) for key in keys for ring in self._key_rings]
        values = self._redis.mget([EPOCH, *(name for *_, name in places)])[1:]
        # Read own texts only now: what this process puts after that is written after this, too.
        own = {key: (text, seconds) for key, text, seconds in self._own.living(*keys)}
        names: list[bytes] = []
        arguments: list[Any] = []
        for (key, ring, name), theirs in zip(places, values, strict=True):
            known, (text, seconds) = ring.decrypt(name, theirs), own.get(key, (None, 0.0))
            if text is not None and merge(text, known) != known:
                names.append(name)
                arguments += [theirs or b"", ring.encrypt(name, text), milliseconds(seconds)]
        return not names or self._replace(names, arguments) == len(names)


def milliseconds(seconds: float) -> int:
    """A time to live as Redis takes it: at least one millisecond."""
    return max(1, int(seconds * 1000))


def merge(*texts: str | None) -> str | None:
    """Of texts that were put independently of each other, the greater one wins.

    See :meth:`authapp.store.protocol.Store.put`.
    """
    return max((text for text in texts if text is not None), default=None)
