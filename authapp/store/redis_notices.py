"""Notices: a process publishes the keys whose strings it has changed.

A process keeps the strings that tell whether a session was revoked, and uses them without asking
Redis again. If a process changes such a string, it publishes a notice, which is the name of the
string's key. Every process receives the notice, and forgets the string under this key.

Redis delivers a published message at most once, so a notice can be lost. So a process uses the
strings that it has kept only while the **channel** of the notices is **alive**. To know this, a
process publishes a *heartbeat* to itself every :data:`HEARTBEAT` seconds. If a heartbeat arrives,
all earlier notices have arrived too, because messages arrive in order. If the channel is not alive,
the process asks Redis.

One thread per process listens. The first request in a process starts the thread, so notices also
work after a fork. The thread ends if no request has needed it for :data:`IDLE` seconds.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from itertools import count
from typing import Any

from redis.exceptions import ResponseError

from authapp.store.protocol import StoreUnavailable
from authapp.store.redis_cluster import FAULTS
from authapp.store.redis_connection import PAUSE, REPEAT_LOG, RedisConnection

CHANNEL = b"authapp:changed"
"""The channel of the notices. A notice is one or more key names, with spaces between."""

HEARTBEATS = b"authapp:beat:{%s}:" % CHANNEL
"""The prefix of the channel on which a process sends heartbeats to itself. Because of the hash tag,
a cluster publishes heartbeats at the same node as notices."""

HEARTBEAT = 0.4
"""Seconds between two heartbeats."""

HEARTBEAT_TIMEOUT = 1.0
"""If a heartbeat arrives, the channel is alive for this many seconds from the time at which the
heartbeat was sent."""

RESUBSCRIBE = 5.0
"""If no heartbeat has arrived for this many seconds, the process subscribes again with another
connection. If Redis disappears without closing the connection, this is the only sign."""

IDLE = 60.0
"""Seconds after which the thread ends if no request has needed it."""

KEPT = 40_000
"""The most strings that a process keeps (about 10 MB). A session needs about three strings."""


_ENDS = (*FAULTS, StoreUnavailable)
"""The errors that end a subscription. The thread then subscribes again."""


class RedisNotices:
    """The strings that a process keeps in memory, and the channel that tells it of changes.

    :param check: a function that reads the epoch marker from Redis, and returns False if Redis is
        down.
    """

    def __init__(self, connection: RedisConnection, check: Callable[[], bool]) -> None:
        self._connection = connection
        self._check = check
        self._kept: dict[bytes, str | None] = {}
        self._numbers = count(1)
        self._changes = 0
        self._alive_until = 0.0
        self._sent: tuple[bytes, float] | None = None
        self._used = 0.0
        self._start_at = 0.0
        self.thread: threading.Thread | None = None

    @property
    def _part(self) -> RedisConnection:
        # A cluster publishes at the node that would have a key with the name of the channel.
        return self._connection.of(CHANNEL)

    # No method takes a lock, so a fork cannot leave one locked. Each step is atomic in itself.

    def known(self, names: Iterable[bytes]) -> list[str | None] | None:
        """Return the strings under some key names, or None if Redis has to be asked."""
        if self.moment() is None:
            return None
        try:
            return [self._kept[name] for name in names]
        except KeyError:
            return None

    def moment(self) -> int | None:
        """Return a number that changes with each notice, or None if the channel is not alive.

        If no thread is running, this method starts one and returns None. After Redis has refused
        the subscription, it starts no thread for :data:`REPEAT_LOG` seconds. The channel also
        counts as not alive while Redis is down.
        """
        self._used = now = time.monotonic()
        thread = self.thread
        if thread is None or not thread.is_alive():  # after a fork, the child has no thread
            if now >= self._start_at:
                self._start()
        elif now < self._alive_until:
            return self._changes
        return None

    def keep(self, strings: dict[bytes, str | None], moment: int | None) -> None:
        """Keep strings that were read from Redis.

        :param strings: the strings, by key name.
        :param moment: the result of :meth:`moment` before the strings were read. If it was None, or
            if a notice has arrived since then, the strings are not kept.
        """
        if moment is None:
            return
        if len(self._kept) > KEPT:
            for name in list(self._kept)[: KEPT // 2]:  # the oldest
                self._kept.pop(name, None)
        self._kept.update(strings)
        if moment != self._changes:  # after the update, so that no notice is missed
            self._pop(strings)

    def forget(self, names: Iterable[bytes]) -> None:
        """Forget the strings under some key names."""
        self._changes = next(self._numbers)
        self._pop(names)

    def forget_all(self) -> None:
        """Forget all strings. Until the thread has subscribed again, this process asks Redis."""
        self._alive_until, self._sent = 0.0, None
        self._changes = next(self._numbers)
        self._kept.clear()

    def publish(self, names: Sequence[bytes]) -> None:
        """Tell all processes that the strings under some key names have changed in Redis.

        If Redis refuses ``PUBLISH``, heartbeats are not published either. Then the channel is not
        alive, and every process asks Redis for the strings.

        :raises StoreUnavailable: if Redis is down.
        """
        try:
            with self._part.command():
                self._connection.client.publish(CHANNEL, b" ".join(names))
        except StoreUnavailable:
            if self._part.down:
                raise

    def _pop(self, names: Iterable[bytes]) -> None:
        for name in names:
            self._kept.pop(name, None)

    def _start(self) -> None:
        self.forget_all()
        self.thread = threading.Thread(target=self._run, name="authapp notices", daemon=True)
        with suppress(RuntimeError):  # no thread can be started now, so try next time
            self.thread.start()

    def _is_wanted(self) -> bool:
        # If two requests have started a thread at the same time, only the later one is wanted.
        return self.thread is threading.current_thread() and time.monotonic() - self._used < IDLE

    def _run(self) -> None:
        client: Any = self._connection.client
        while self._is_wanted():
            try:
                with closing(client.pubsub()) as channel:
                    self._listen(channel)
            except ResponseError as error:  # the Redis user may not subscribe
                self._connection.log_refusal(error)
                self._start_at = time.monotonic() + REPEAT_LOG
                return
            except _ENDS:
                pass
            if self._is_wanted():
                self.forget_all()
                time.sleep(PAUSE)

    def _listen(self, channel: Any) -> None:
        """Receive notices until the connection ends or leads to another Redis."""
        heartbeats = HEARTBEATS + uuid.uuid4().hex.encode()
        with self._part.command():
            channel.subscribe(CHANNEL, heartbeats)
        generation, next_heartbeat = self._connection.generation, 0.0
        subscribed, heard = 0, time.monotonic()
        while self._is_wanted() and generation == self._connection.generation and subscribed < 3:
            if time.monotonic() - heard > RESUBSCRIBE:
                return
            if time.monotonic() >= next_heartbeat:
                next_heartbeat = self._send_heartbeat(heartbeats) + HEARTBEAT
            message = channel.get_message(timeout=max(0.0, next_heartbeat - time.monotonic()))
            match message:
                case {"type": "subscribe"}:
                    subscribed += 1  # the third one means that redis-py has connected again
                case {"channel": channel_name, "data": bytes(data)} if channel_name == CHANNEL:
                    self.forget(data.split(b" "))
                case {"data": bytes(data)} if self._sent is not None and data == self._sent[0]:
                    heard = self._sent[1]
                    self._alive_until = heard + HEARTBEAT_TIMEOUT

    def _send_heartbeat(self, channel: bytes) -> float:
        """Publish a heartbeat, and return the time at which it was sent (``time.monotonic()``).

        :raises StoreUnavailable: if Redis is down or refuses.
        """
        if not self._check():
            raise StoreUnavailable
        now = time.monotonic()
        self._sent = uuid.uuid4().hex.encode(), now
        with self._part.command():
            self._connection.client.publish(channel, self._sent[0])
        return now
