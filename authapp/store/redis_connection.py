"""The connections to one Redis, and whether it is up, down, or has lost data."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from limits.storage import RedisStorage
from redis import BlockingConnectionPool, Connection, Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import LockError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from authapp.store.protocol import StoreUnavailable

log = logging.getLogger(__name__)

TIMEOUT = 0.25
"""Seconds that one command may take, to connect and to answer."""

PAUSE = 0.5
"""Seconds for which a Redis that failed is not asked. Then one request tries it again."""

STALL = 1.0
"""Seconds after which a Redis without an answer no longer counts as stalled (by a fork, or a
slow command), but as down."""

REPEAT_LOG = 60.0
"""Seconds between two log lines about the same refusal."""

CONNECTIONS = 32
"""Connections of one process. A request that finds none free for :data:`TIMEOUT` goes on as if
Redis were down."""

_RUN = re.compile(rb"run_id:([0-9a-f]+)")
_REFUSED = re.compile(r"the '[a-z|]{1,20}' command|DB index")


class RedisConnection:
    """One Redis, and its state.

    An error reply (memory is full, read-only, not permitted) does not mean that Redis is down,
    as other commands may work. Redis is down only if it does not answer.

    :param client: with short timeouts and without retries; see :func:`connect`.
    :param clock: returns seconds and never goes back.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        #: Called when Redis may have lost data.
        self.on_data_loss: Callable[[], None] = lambda: None
        self._clock = clock
        self._lock = threading.Lock()
        self._down = False
        self._down_since = 0.0
        self._ask_at = 0.0
        self._not_before: dict[str, float] = {}
        self._lost_at = float("-inf")
        self._run: bytes | None = None
        self._generation = 0
        self._made: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    def counters(self) -> RedisStorage:
        """Counters for rate limits, over the same connections."""
        pool = self.client.connection_pool
        return RedisStorage("redis://", connection_pool=pool, key_prefix="authapp:limit")

    @property
    def address(self) -> str:
        """Host and port, or the socket's path, without a password."""
        options = self.client.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")

    @property
    def stalled(self) -> bool:
        """Whether Redis stopped answering less than :data:`STALL` seconds ago."""
        return self._down and self._clock() - self._down_since < STALL

    def connected(self, connection: AbstractConnection, run: bytes | None) -> None:
        """Record a new connection.

        :param run: the ``run_id`` of the Redis process, if it may be asked. Another one than
            before means that Redis was restarted or is another Redis.
        """
        if self._run not in (run, None):
            self.lost_data()
        self._run = run
        self._made[connection] = self._generation

    def given_back(self, connection: AbstractConnection) -> None:
        """Close a connection that was used, if it is older than the last data loss.

        It may lead to a Redis that is no longer the primary: when an address moves, open
        connections stay where they were, and what is written through them is lost.
        """
        if self._made.get(connection, self._generation) < self._generation:
            del self._made[connection]
            connection.disconnect()  # type: ignore[no-untyped-call]
            self.on_data_loss()

    def lost_data(self) -> None:
        """Record that Redis may have lost data: it is another one, empty, or was down."""
        self._lost_at = self._clock()
        self._generation += 1
        self.on_data_loss()

    def remembers(self, seconds: float) -> bool:
        """Whether Redis cannot have lost data within so many seconds."""
        return self._clock() - self._lost_at > seconds

    @contextmanager
    def command(self) -> Iterator[None]:
        """Enter this context around every command.

        :raises StoreUnavailable: if the command fails or is refused, and at once while Redis
            is down.
        :raises LockError: if redis-py reports a lost lock.
        """
        if self._down:
            with self._lock:
                if self._clock() < self._ask_at:
                    raise StoreUnavailable
                self._ask_at = self._clock() + PAUSE  # this request tries it, the others do not
        answer: Exception | None = None
        try:
            yield
        # Full, read-only, not permitted, a counter that is no number, a lock that is gone.
        except (ResponseError, ValueError, LockError) as error:
            answer = error
        except (RedisError, OSError) as error:
            with self._lock:
                self._ask_at = self._clock() + PAUSE
                if not self._down:
                    self._down, self._down_since = True, self._clock()
                    text = "StoreDown: %s at %s; each process goes on alone"
                    log.error(text, type(error).__name__, self.address)
            raise StoreUnavailable from None
        if self._down:
            self.lost_data()  # it may be back from a dump that has the epoch marker but no leases
            self._down = False
            log.warning("StoreBack: Redis answers again at %s", self.address)
        if isinstance(answer, LockError):
            raise answer
        if answer is not None:
            self.log_refusal(answer)
            raise StoreUnavailable

    def log_refusal(self, error: Exception) -> None:
        """Log an error reply, once a minute for each kind."""
        if isinstance(error, ReadOnlyError) and self._is_time("look for the primary", PAUSE):
            self._generation += 1
        what = _REFUSED.search(str(error))
        kind = type(error).__name__ + (f" ({what[0]})" if what else "")
        if self._is_time(f"log {kind}", REPEAT_LOG):
            log.error("StoreRefuses: %s at %s", kind, self.address)

    def _is_time(self, what: str, seconds: float) -> bool:
        """Whether something was not done within so many seconds. If so, it counts as done now."""
        now = self._clock()
        if now < self._not_before.get(what, 0):
            return False
        self._not_before[what] = now + seconds
        return True


class _Pool(BlockingConnectionPool):
    """A connection pool that reports each connection that is given back."""

    owner: RedisConnection

    def release(self, connection: Any) -> None:
        """See redis-py."""
        self.owner.given_back(connection)
        super().release(connection)  # type: ignore[no-untyped-call]


def connect(url: str) -> RedisConnection:
    """Prepare the connections to the Redis at a URL. Nothing is sent yet.

    :raises ValueError: if redis-py does not understand the URL.
    """

    def greet(connection: Connection) -> None:
        """Do what redis-py does with a new connection, and ask for the ``run_id``."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            said = _RUN.search(connection.read_response())
            owner.connected(connection, said and said[1])
        except ResponseError as error:  # INFO is refused, so another run cannot be told
            owner.connected(connection, None)
            owner.log_refusal(error)

    pool = _Pool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=greet,
    )
    pool.connection_kwargs["decode_responses"] = False  # whatever the URL says: values are bytes
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from None
    owner = pool.owner = RedisConnection(Redis(connection_pool=pool))
    return owner
