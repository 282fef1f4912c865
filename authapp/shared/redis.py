"""Shared memory of every process and machine that uses the same Redis.

Whatever happens to Redis (refused, hanging, full, read-only, flushed, failed over), requests
are answered: what cannot be asked is looked up in this process's own memory, and what was
put while Redis was away is told to it when it is back.

On the wire: a key is ``authapp:`` and an HMAC of what it stands for, so that somebody who
reads Redis cannot test a stolen token against it. A value is ``nonce || ciphertext || tag``
(AES-256-GCM) with the key's name as associated data, so that a value copied to another place
does not open.
"""

import base64
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from limits.storage import RedisStorage
from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError, ResponseError
from redis.lock import Lock
from redis.retry import Retry

from authapp.sealing import derive
from authapp.shared import Away, Key, Lease
from authapp.shared.memory import MemoryShared

log = logging.getLogger(__name__)

TIMEOUT = 0.25
"""Seconds that one command may take, to connect and to answer."""

PAUSE = 0.5
"""Seconds for which a Redis that failed is left alone; then one request tries it again."""

COMPLAIN = 60.0
"""Seconds between two log lines about a Redis that takes nothing."""

LEASE = 4.0
"""Seconds after which the lease of a process that has died ends."""

CONNECTIONS = 32

MARK = b"authapp:mark"
"""A key with a random value: when that is gone or another, Redis has forgotten everything."""

MARK_LIFE = 86_400
"""Seconds after which the mark is made again, and what is known told once more."""

NAMES = 4096
"""How many names are remembered: those of a session are asked for with every request."""

_BATCH = 500
_NONCE = 12


class Server:
    """One Redis, and whether it is worth asking.

    What it refuses (full, read-only, not permitted) says nothing of what it can be asked:
    only a Redis that does not answer is left alone for a while.

    :param client: whose timeouts are short and which does not retry; see :func:`connect`.
    :param clock: seconds that only grow.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.on_return: Callable[[], None] = lambda: None
        self.clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._ask_at = 0.0
        self._complain_at = float("-inf")

    def counters(self) -> RedisStorage:
        """Counters for rate limits, through the same connections."""
        pool = self.client.connection_pool
        return RedisStorage("redis://", connection_pool=pool, key_prefix="authapp:limit")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around every command.

        :raises Away: when it fails; and at once, when another has just failed.
        """
        if self._away:
            with self._lock:
                if self.clock() < self._ask_at:
                    raise Away
                self._ask_at = self.clock() + PAUSE  # the others leave it to this one
        try:
            yield
            if self._away:
                with suppress(ResponseError):
                    self.on_return()
                self._away = False
                log.warning("SharedMemoryBack: Redis answers again")
        except LockError:
            raise  # an answer, if not the one that was hoped for
        # Full, read-only, not permitted, a counter that is no number: it can still be read.
        except (ResponseError, ValueError) as error:
            if self.clock() >= self._complain_at:
                self._complain_at = self.clock() + COMPLAIN
                log.error("SharedMemoryRefuses: %s", type(error).__name__)
            raise Away from None
        except (RedisError, OSError) as error:
            with self._lock:
                self._ask_at = self.clock() + PAUSE
                if not self._away:
                    self._away = True
                    log.error("SharedMemoryAway: %s; going on alone", type(error).__name__)
            raise Away from None


def connect(url: str) -> Server:
    """A Redis by its URL, with bounded connections and waits. Nothing is sent yet.

    :raises ValueError: for a URL that redis-py does not understand.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return Server(Redis(connection_pool=pool))


class _Ring:
    """The names and the seal that hang on one secret."""

    def __init__(self, secret: bytes) -> None:
        self._names = derive(secret, "authapp shared names", 32)
        self._seal = AESGCM(derive(secret, "authapp shared values", 32))
        self.name = lru_cache(maxsize=NAMES)(self._name)

    def _name(self, key: Key) -> bytes:
        text = "\0".join(key).encode(errors="surrogatepass")
        return b"authapp:" + base64.urlsafe_b64encode(hmac.digest(self._names, text, "sha256"))

    def seal(self, name: bytes, text: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._seal.encrypt(nonce, text.encode(), name)

    def open(self, name: bytes, sealed: object) -> str | None:
        """The text, or None for anything that was not sealed here, for this name."""
        if not isinstance(sealed, bytes):
            return None
        try:
            return self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], name).decode()
        except (InvalidTag, ValueError):  # ValueError: hardly any bytes at all
            return None


class RedisShared:
    """``authapp.shared = redis://…``

    :param secrets: of which every one is written with and read with, so that processes that
        have a new one already and those that have not yet understand each other.
    """

    def __init__(self, server: Server, secrets: Sequence[bytes]) -> None:
        self._server = server
        self._redis = server.client
        self._rings = [_Ring(secret) for secret in secrets]
        self._own = MemoryShared()
        self._untold: set[Key] = set()
        self._mark: object = None
        self._forgot_at = float("-inf")
        server.on_return = self._come_back

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.shared.Shared`."""
        own = self._own.get(*keys)
        names = [ring.name(key) for key in keys for ring in self._rings]
        try:
            with self._server.asking():
                mark, *sealed = self._redis.mget([MARK, *names])
        except Away:
            return own
        if mark is None or mark != self._mark:
            self._meet(mark)
        opened = [
            ring.open(name, value)
            for name, value, ring in zip(names, sealed, self._rings * len(keys), strict=True)
        ]
        each = len(self._rings)
        found = (opened[at : at + each] for at in range(0, len(opened), each))
        return [
            next((text for text in texts if text is not None), mine)
            for texts, mine in zip(found, own, strict=True)
        ]

    def put(self, key: Key, text: str, seconds: float) -> None:
        """See :class:`authapp.shared.Shared`."""
        self._own.put(key, text, seconds)
        try:
            with self._server.asking():
                self._write([(key, text, seconds)], only_new=False)
                if self._untold:
                    self._tell()
        except Away:
            self._untold.add(key)

    @contextmanager
    def lease(self, key: Key) -> Iterator[Lease]:
        """See :class:`authapp.shared.Shared`."""
        held: list[Lock] = []
        try:
            yield from self._leased(Key(f"lease of {key.purpose}", key.secret), held)
        finally:
            for lock in held:
                with suppress(LockError, Away), self._server.asking():
                    lock.release()

    def remembers(self, seconds: float) -> bool:
        """See :class:`authapp.shared.Shared`."""
        return self.healthy() and self._server.clock() - self._forgot_at > seconds

    def healthy(self) -> bool:
        """Whether Redis answers right now, and knows what this process has to tell."""
        try:
            with self._server.asking():
                self._redis.ping()
            with self._server.asking():
                if self._untold:
                    self._tell()
        except Away:
            return False
        self.get()
        return True

    def _leased(self, key: Key, held: list[Lock]) -> Iterator[Lease]:
        try:
            with self._server.asking():
                # The oldest secret first: those who have it already meet there.
                for ring in reversed(self._rings):
                    lock = self._redis.lock(
                        ring.name(key).decode(), LEASE, blocking=False, thread_local=False
                    )
                    if not lock.acquire():
                        break
                    held.append(lock)
                    lock.extend(LEASE, replace_ttl=True)  # or it is none: scripts may be forbidden
        except (Away, LockError):  # LockError: it has forgotten the lease at once
            yield Lease.UNSURE
            return
        if len(held) < len(self._rings):
            yield Lease.THEIRS
            return
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(held, done), daemon=True)
        keeper.start()
        try:
            yield Lease.MINE
        finally:
            done.set()
            keeper.join()

    def _keep(self, held: list[Lock], done: threading.Event) -> None:
        """Extend leases while their holder is alive, however slow it is."""
        while not done.wait(LEASE / 4):
            for lock in held:
                with suppress(LockError, Away), self._server.asking():
                    lock.extend(LEASE, replace_ttl=True)

    def _write(self, texts: list[tuple[Key, str, float]], *, only_new: bool) -> None:
        for at in range(0, len(texts), _BATCH):
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, text, seconds in texts[at : at + _BATCH]:
                    for ring in self._rings:
                        name = ring.name(key)
                        milliseconds = max(1, int(seconds * 1000))
                        pipeline.set(name, ring.seal(name, text), px=milliseconds, nx=only_new)
                pipeline.execute()

    def _meet(self, mark: object) -> None:
        """Redis is another than before, or empty: emptied or restarted, which nobody is told.

        :param mark: what it has under :data:`MARK`, if anything.
        """
        if self._mark is not None:
            self._forgot_at = self._server.clock()
        with suppress(Away), self._server.asking():
            if mark is None:
                mark = os.urandom(16).hex().encode()
                if not self._redis.set(MARK, mark, ex=MARK_LIFE, nx=True):
                    return  # somebody was faster; theirs is met next time
            self._tell()
            self._mark = mark

    def _come_back(self) -> None:
        """Redis is back, perhaps from a dump that has the mark and not the leases."""
        self._forgot_at = self._server.clock()
        self._tell()

    def _tell(self) -> None:
        """Tell Redis what this process knows: it may be empty."""
        untold, living = set(self._untold), self._own.living()
        self._write([each for each in living if each[0] in untold], only_new=False)
        self._write([each for each in living if each[0] not in untold], only_new=True)
        self._untold -= untold
