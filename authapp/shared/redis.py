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
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from heapq import nlargest
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from limits.storage import RedisStorage
from redis import BlockingConnectionPool, Connection, Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import LockError, ReadOnlyError, RedisError, ResponseError
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

STALL = 1.0
"""Seconds after which a Redis that gives no answer has no mere stall (a fork, a slow command)."""

_LOOK_AGAIN = 0.05
"""Seconds between two looks at whether a stall is over."""

COMPLAIN = 60.0
"""Seconds between two log lines of one kind about a Redis that takes nothing."""

LEASE = 4.0
"""Seconds after which the lease of a process that has died ends."""

CONNECTIONS = 32
"""To one Redis, of one process; whoever finds none free for :data:`TIMEOUT` goes on alone."""

LAST_WORDS = 3.0
"""Seconds for which a process that ends goes on trying to tell the others what they must know."""

MARK = b"authapp:mark"
"""A key with a random value: when that is gone or another, Redis has forgotten everything."""

MARK_LIFE = 86_400
"""Seconds after which the mark is made again, and what is known told once more."""

NAMES = 4096
"""How many names are remembered: those of a session are asked for with every request."""

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
"""Puts values, with milliseconds to live, where those still stand that were seen there."""

_RUN = re.compile(rb"run_id:([0-9a-f]+)")
_REFUSED = re.compile(r"the '[a-z|]{1,20}' command|DB index")
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
        #: Called when it may have forgotten something.
        self.on_forgetting: Callable[[], None] = lambda: None
        self._clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._away_at = 0.0
        self._ask_at = 0.0
        self._not_before: dict[str, float] = {}
        self._forgot_at = float("-inf")
        self._run: bytes | None = None
        self._generation = 0
        self._made: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    def counters(self) -> RedisStorage:
        """Counters for rate limits, through the same connections."""
        pool = self.client.connection_pool
        return RedisStorage("redis://", connection_pool=pool, key_prefix="authapp:limit")

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        options = self.client.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")

    @property
    def stalls(self) -> bool:
        """Whether it has only just begun to give no answer."""
        return self._away and self._clock() - self._away_at < STALL

    def connected(self, connection: AbstractConnection, run: bytes | None) -> None:
        """A connection has been made.

        :param run: what Redis calls itself from its start to its end, where it says so.
        """
        if self._run not in (run, None):
            self.forgot()
        self._run = run
        self._made[connection] = self._generation

    def given_back(self, connection: AbstractConnection) -> None:
        """A connection was used. One that is older than the last forgetting is closed.

        It may lead to the Redis of before: behind an address that moved, connections live on,
        and what was put through them since is lost.
        """
        if self._made.get(connection, self._generation) < self._generation:
            del self._made[connection]
            connection.disconnect()  # type: ignore[no-untyped-call]
            self.on_forgetting()

    def forgot(self) -> None:
        """It may have forgotten something of late: it is another, empty, or was away."""
        self._forgot_at = self._clock()
        self._generation += 1
        self.on_forgetting()

    def remembers(self, seconds: float) -> bool:
        """Whether it cannot have forgotten anything in so many seconds."""
        return self._clock() - self._forgot_at > seconds

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around every command.

        :raises Away: when it fails or is refused; and at once, when another has just failed.
        :raises LockError: what redis-py makes of an answer.
        """
        if self._away:
            with self._lock:
                if self._clock() < self._ask_at:
                    raise Away
                self._ask_at = self._clock() + PAUSE  # the others leave it to this one
        answer: Exception | None = None
        try:
            yield
        # Full, read-only, not permitted, a counter that is no number, a lock that is gone.
        except (ResponseError, ValueError, LockError) as error:
            answer = error
        except (RedisError, OSError) as error:
            with self._lock:
                self._ask_at = self._clock() + PAUSE
                if not self._away:
                    self._away, self._away_at = True, self._clock()
                    text = "SharedMemoryAway: %s at %s; going on alone"
                    log.error(text, type(error).__name__, self.address)
            raise Away from None
        if self._away:
            self.forgot()  # perhaps it is back from a dump that has the mark and no leases
            self._away = False
            log.warning("SharedMemoryBack: Redis answers again at %s", self.address)
        if isinstance(answer, LockError):
            raise answer
        if answer is not None:
            self.complain(answer)
            raise Away

    def complain(self, error: Exception) -> None:
        """One line about what it refuses, now and then."""
        if isinstance(error, ReadOnlyError) and self._is_time("to look for the primary", PAUSE):
            self._generation += 1
        what = _REFUSED.search(str(error))
        kind = type(error).__name__ + (f" ({what[0]})" if what else "")
        if self._is_time(f"to complain of {kind}", COMPLAIN):
            log.error("SharedMemoryRefuses: %s at %s", kind, self.address)

    def _is_time(self, what: str, seconds: float) -> bool:
        """Whether that was not done in so many seconds: it is done now."""
        now = self._clock()
        if now < self._not_before.get(what, 0):
            return False
        self._not_before[what] = now + seconds
        return True


class _Pool(BlockingConnectionPool):
    """Connections to one Redis, which hears when one has been used."""

    server: Server

    def release(self, connection: Any) -> None:
        """See redis-py."""
        self.server.given_back(connection)
        super().release(connection)  # type: ignore[no-untyped-call]


def connect(url: str) -> Server:
    """A Redis by its URL, with bounded connections and waits. Nothing is sent yet.

    :raises ValueError: for a URL that redis-py does not understand.
    """

    def greet(connection: Connection) -> None:
        """What redis-py does with a new connection; and ask whether it is the Redis of before."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            said = _RUN.search(connection.read_response())
            server.connected(connection, said and said[1])
        except ResponseError as error:  # a Redis that goes on may be another
            server.connected(connection, None)
            server.complain(error)

    pool = _Pool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=greet,
    )
    pool.connection_kwargs["decode_responses"] = False  # whatever the URL says: they are no text
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from None
    server = pool.server = Server(Redis(connection_pool=pool))  # greet knows it by then
    return server


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
        return nonce + self._seal.encrypt(nonce, text.encode(errors="surrogatepass"), name)

    def open(self, name: bytes, sealed: object) -> str | None:
        """The text, or None for anything that was not sealed here, for this name."""
        if not isinstance(sealed, bytes):
            return None
        try:
            opened = self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], name)
            return opened.decode(errors="surrogatepass")
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
        self._replace = self._redis.register_script(_REPLACE)
        self._rings = [_Ring(secret) for secret in secrets]
        self._own = MemoryShared()
        #: Of what this process has put, that which Redis may not have, and since which doubt.
        self._untold: dict[Key, int] = {}
        self._doubts = count()
        self._lock = threading.Lock()
        self._teller: threading.Thread | None = None
        self._mark: object = None
        server.on_forgetting = self._doubt_all

    def get(self, *keys: Key) -> list[str | None]:
        """See :class:`authapp.shared.Shared`."""
        own, untold = self._own.get(*keys), self._untold.keys() & keys
        try:
            with self._server.asking():
                mark, theirs = self._ask(*keys)
        except Away:
            return own
        if mark is None or mark != self._mark:
            self._meet(mark)
        # Before and after: it may have been told, or have forgotten, meanwhile.
        untold |= self._untold.keys() & keys
        if self._untold:
            self._go_on_telling()
        return [
            _strongest(mine, known) if key in untold or known is None else known
            for key, mine, known in zip(keys, own, theirs, strict=True)
        ]

    def put(self, key: Key, text: str, seconds: float) -> None:
        """See :class:`authapp.shared.Shared`."""
        self._own.put(key, text, seconds)
        try:
            with self._server.asking(), self._redis.pipeline(transaction=False) as pipeline:
                for ring in self._rings:
                    name = ring.name(key)
                    pipeline.set(name, ring.seal(name, text), px=_milliseconds(seconds))
                pipeline.execute()
        except Away:
            self._doubt(key)
        else:
            self._go_on_telling()

    @contextmanager
    def lease(self, key: Key) -> Iterator[Lease]:
        """See :class:`authapp.shared.Shared`."""
        locks = self._locks(key)
        try:
            lease = self._take(locks)
            with nullcontext() if lease is Lease.THEIRS else self._kept(locks):
                yield lease
        finally:
            self._give_back(locks)

    def remembers(self, seconds: float) -> bool:
        """See :class:`authapp.shared.Shared`."""
        return self.healthy() and self._server.remembers(seconds)

    def healthy(self) -> bool:
        """Whether Redis does all that it must right now, and knows what there is to tell."""
        locks = self._locks(Key("health check", uuid.uuid4().hex))
        sure = self._take(locks) is not Lease.UNSURE
        self._give_back(locks)
        self.get()
        if sure and self._untold:
            self._tell()
        return sure and not self._untold

    def _locks(self, key: Key) -> list[Lock]:
        """A lock for each secret: of two processes that change secrets, both know one."""
        key = Key(f"lease of {key.purpose}", key.secret)
        # In one order, whatever that of the secrets: two that take several must meet.
        names = sorted(ring.name(key).decode() for ring in self._rings)
        return [self._redis.lock(name, LEASE, thread_local=False) for name in names]

    def _take(self, locks: list[Lock]) -> Lease:
        while True:
            try:
                with self._server.asking():
                    return Lease.MINE if all(map(_hold, locks)) else Lease.THEIRS
            except (Away, LockError):  # LockError: it has forgotten the lease at once
                if not self._server.stalls:
                    return Lease.UNSURE
            time.sleep(_LOOK_AGAIN)  # the others may know nothing of it, and be sure

    def _give_back(self, locks: list[Lock]) -> None:
        for lock in locks:
            if lock.local.token is not None:
                with suppress(LockError, Away), self._server.asking():
                    lock.release()

    @contextmanager
    def _kept(self, locks: list[Lock]) -> Iterator[None]:
        """Hold locks while this process lives, however slow it is."""
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
                with suppress(LockError, Away), self._server.asking():
                    _hold(lock)

    def _ask(self, *keys: Key) -> tuple[object, list[str | None]]:
        """The mark, and what Redis has under some keys."""
        names = [ring.name(key) for key in keys for ring in self._rings]
        mark, *sealed = self._redis.mget([MARK, *names])
        opened = list(map(_Ring.open, self._rings * len(keys), names, sealed))
        each = len(self._rings)
        return mark, [_strongest(*opened[at : at + each]) for at in range(0, len(opened), each)]

    def _meet(self, mark: object) -> None:
        """Redis is another than before, or empty: emptied or restarted, which nobody is told.

        :param mark: what it has under :data:`MARK`, if anything.
        """
        if self._mark is not None:
            self._mark = None
            self._server.forgot()
        with suppress(Away), self._server.asking():
            if mark is None:
                mark = os.urandom(16).hex().encode()
                if not self._redis.set(MARK, mark, ex=MARK_LIFE, nx=True):
                    return  # somebody was faster; theirs is met next time
            self._mark = mark
            self._doubt_all()  # what was put before the first mark was met, too

    def _doubt_all(self) -> None:
        """Redis may be empty, or have less than it had: it is to be told everything again."""
        self._doubt(*(key for key, *_ in self._own.living()))

    def _doubt(self, *keys: Key) -> None:
        with self._lock:
            self._untold.update((key, next(self._doubts)) for key in keys)
        self._go_on_telling()

    def _go_on_telling(self) -> None:
        """Tell what is untold, even if no request comes that would: a sign-out, say."""
        with self._lock:
            if self._untold and (self._teller is None or not self._teller.is_alive()):
                self._teller = threading.Thread(target=self._keep_telling, daemon=False)
                with suppress(RuntimeError):  # there can be no more of them: the next call tries
                    self._teller.start()

    def _keep_telling(self) -> None:
        ends_at = float("inf")
        while time.monotonic() < ends_at:
            told = self._tell()
            with self._lock:
                if not self._untold:
                    self._teller = None
                    return
            if not threading.main_thread().is_alive():
                ends_at = min(ends_at, time.monotonic() + LAST_WORDS)
            if not told:
                with self._lock:
                    for key in self._untold.keys() - {key for key, *_ in self._own.living()}:
                        del self._untold[key]  # it has ended
                time.sleep(PAUSE)

    def _tell(self) -> bool:
        """Tell Redis some of what is untold, the latest doubts first.

        :returns: whether it has taken that.
        """
        with self._lock:
            untold = dict(self._untold)
        some = nlargest(_BATCH, untold, key=untold.__getitem__)
        told = False
        with suppress(Away), self._server.asking():
            told = self._compare(some)
        if told:
            with self._lock:
                for key in some:
                    # Unless it has been doubted again meanwhile.
                    if self._untold.get(key) == untold[key]:
                        del self._untold[key]
        return told

    def _compare(self, keys: list[Key]) -> bool:
        """Put own texts where Redis has none, or a weaker one.

        :returns: False where somebody else has put one of them at that very moment.
        """
        places = [(key, ring, ring.name(key)) for key in keys for ring in self._rings]
        sealed = self._redis.mget([MARK, *(name for *_, name in places)])[1:]
        # Only now: what this process puts after that comes after this, too.
        own = {key: (text, seconds) for key, text, seconds in self._own.living(*keys)}
        names: list[bytes] = []
        values: list[Any] = []
        for (key, ring, name), theirs in zip(places, sealed, strict=True):
            known, (text, seconds) = ring.open(name, theirs), own.get(key, (None, 0.0))
            if text is not None and _strongest(text, known) != known:
                names.append(name)
                values += [theirs or b"", ring.seal(name, text), _milliseconds(seconds)]
        return not names or self._replace(names, values) == len(names)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _strongest(*texts: str | None) -> str | None:
    """Which text counts of some that were put not knowing of each other: :meth:`Shared.put`."""
    return max((text for text in texts if text is not None), default=None)


def _hold(lock: Lock) -> bool:
    """Take a lock, or go on holding it; whether it is held."""
    if lock.local.token is not None:
        with suppress(LockError):
            return bool(lock.extend(LEASE, replace_ttl=True))
    # Known before: it may be taken although no answer came in time.
    token = uuid.uuid4().hex
    lock.local.token = token.encode()
    if not lock.acquire(blocking=False, token=token):
        lock.local.token = None
        return False
    return bool(lock.extend(LEASE, replace_ttl=True))  # or it is none: scripts may be forbidden
