"""The connections to one Redis, and its state: up or down, and the time of the last data loss.

In a cluster, a single node may be down. So each primary has a state: :meth:`RedisConnection.of`.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from limits.storage import RedisStorage
from redis import BlockingConnectionPool, Connection, Redis, Sentinel, SSLConnection
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import (
    ClusterDownError,
    LockError,
    ReadOnlyError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import (
    SentinelConnectionPoolProxy,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from authapp.store.protocol import StoreUnavailable
from authapp.store.redis_cluster import FAULTS, LazyCluster
from authapp.store.redis_url import CLUSTER, SENTINEL, read_url

log = logging.getLogger(__name__)

TIMEOUT = 0.25
"""The longest time in seconds for a connection to Redis, and also for the reply to one command."""

PAUSE = 0.5
"""If Redis does not respond, no command is sent for this many seconds. Then one request tries
again."""

STALL = 1.0
"""For this many seconds after Redis stops responding, Redis counts as *stalled*: it may only be
busy with a slow command. A process that needs a lease waits while Redis is stalled."""

REPEAT_LOG = 60.0
"""Seconds between two log lines about the same kind of error reply."""

CONNECTIONS = 32
"""The most connections of one process. A request that gets no connection within :data:`TIMEOUT`
continues as if Redis were down."""

_RUN = re.compile(rb"run_id:([0-9a-f]+)")
_REFUSED = re.compile(r"the '[a-z|]{1,20}' command|DB index")


class RedisConnection:
    """The connections to one Redis, and its state.

    Redis is down if it does not respond, or if a cluster replies that it is down. After any other
    error reply (memory full, read-only, not permitted), Redis is up, as other commands may work.

    :param client: a client with short timeouts and without retries (see :func:`connect`).
    :param clock: returns seconds and never goes back.
    :param address: the text to log as the address of Redis. If it is empty, the log has the address
        that the client knows.
    :param node: the primary to which this state belongs. None: this is the state of all of Redis.
    """

    def __init__(
        self,
        client: Redis,
        clock: Callable[[], float] = time.monotonic,
        address: str = "",
        node: object = None,
    ) -> None:
        self.client: Any = client
        #: True for a cluster, whose key names need hash tags.
        self.clustered = False
        self._address = address
        self._node = node
        self._whole = self
        self._parts: dict[object, RedisConnection] = {None: self}
        self._logged = False
        #: Called when Redis may have lost the data under keys with these hash tags. None: all data.
        self.on_data_loss: Callable[[Collection[bytes] | None], None] = lambda tags: None
        self._clock = clock
        self._lock = threading.Lock()
        self._down = False
        self._down_since = 0.0
        self._ask_at = 0.0
        self._not_before: dict[str, float] = {}
        self._lost_at = float("-inf")
        self._runs: dict[object, bytes | None] = {}
        #: A number that increases when existing connections may lead to a former Redis.
        self.generation = 0
        self._generations: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    def of(self, tag: bytes) -> "RedisConnection":
        """Return the state of a hash tag's primary. Without a cluster, the state of the Redis."""
        if not self.clustered:
            return self
        for node in self.client.new_primaries(tag):
            self._part(node).lost_data()  # may lack the last writes of the former primary
        node = self.client.primary(tag)
        if self._down and node is not None and not self.client.tags_of(None):
            self.lost_data()  # no node was known, and this outage is over
            self._down = False
        return self._part(node)

    def _part(self, node: object) -> "RedisConnection":
        part = self._parts.get(node)
        if part is None:
            part = RedisConnection(self.client, self._clock, self.address, node)
            part._whole, part.clustered, part._lost_at = self, True, self._lost_at
        return self._parts.setdefault(node, part)

    def counters(self) -> RedisStorage:
        """Return counters for rate limits, which use the same connections."""
        pool = None if self.clustered else self.client.connection_pool
        storage = RedisStorage("redis://", connection_pool=pool, key_prefix="authapp:limit")
        if self.clustered:
            storage.storage = self.client
            storage.initialize_storage("")
        return storage

    @property
    def address(self) -> str:
        """Host and port of Redis, or the path of its socket. A password is left out."""
        if self._address:
            return self._address
        options = self.client.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")

    def info(self, section: str) -> list[dict[str, Any]]:
        """Return a section of ``INFO``, from each primary. Call it within :meth:`command`."""
        reply = self.client.info(section)
        return reply if isinstance(reply, list) else [reply]

    @property
    def down(self) -> bool:
        """True if Redis did not respond to the last command."""
        return self._down

    @property
    def stalled(self) -> bool:
        """True if Redis is down, and has been down for less than :data:`STALL` seconds."""
        return self._down and self._clock() - self._down_since < STALL

    def set_up(self, connection: Connection) -> None:
        """Set up a new connection as redis-py does, and read the ``run_id``."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        self.read_run_id(connection)

    def read_run_id(self, connection: Connection) -> None:
        """Read the ``run_id`` over a new connection."""
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            run = _RUN.search(connection.read_response())
            self.connected(connection, run and run[1])
        except ResponseError as error:
            self.connected(connection, None)
            if self._is_due("log that INFO is refused", float("inf")):
                log.error(
                    "StoreRefuses: %s (the 'info' command) at %s, so authapp cannot know whether"
                    " Redis drops keys or was restarted",
                    type(error).__name__,
                    self.address,
                )

    def connected(self, connection: AbstractConnection, run: bytes | None) -> None:
        """Record a new connection.

        :param run: the ``run_id`` of the Redis process, or None if Redis does not permit ``INFO``.
            If the ``run_id`` has changed, Redis was restarted or replaced, and data may be lost.
        """
        node = (connection.host, connection.port) if self.clustered else None  # type: ignore[attr-defined]
        if self._runs.get(node) not in (run, None):
            self._part(node).lost_data()
        self._runs[node] = run
        self._generations[connection] = self.generation

    def given_back(self, connection: AbstractConnection) -> None:
        """Close a connection if it was opened before the last data loss.

        The pool calls this method when a request returns a connection to the pool. An old
        connection may lead to a former primary: if the address of Redis moves to another server,
        open connections stay with the old server. Strings written to that server are lost.
        """
        if self._generations.get(connection, self.generation) < self.generation:
            del self._generations[connection]
            connection.disconnect()  # type: ignore[no-untyped-call]
            self.on_data_loss(None)

    def lost_data(self) -> None:
        """Record that Redis may have lost data because Redis was down, restarted or replaced."""
        for part in list(self._parts.values()):
            part._lost_at = self._clock()
        if not self.clustered:  # a node of a cluster keeps its address
            self.generation += 1
        self._whole.on_data_loss(self.client.tags_of(self._node) if self._node else None)

    def remembers(self, seconds: float) -> bool:
        """Return True if Redis cannot have lost data in the last ``seconds``."""
        return all(self._clock() - part._lost_at > seconds for part in list(self._parts.values()))

    def up_in(self, seconds: float) -> float:
        """Return how long to wait until Redis has been up without a data loss for ``seconds``.

        :returns: the wait in seconds: 0 if no wait is needed, infinity while Redis is down.
        """
        return float("inf") if self._down else max(0.0, self._lost_at + seconds - self._clock())

    @contextmanager
    def command(self) -> Iterator[None]:
        """Send every command within this context.

        :raises StoreUnavailable: if Redis does not respond or refuses the command. While Redis is
            down, this error is raised before a command is sent.
        :raises LockError: if redis-py reports a lost lock.
        """
        if self._down:
            with self._lock:
                if self._clock() < self._ask_at:
                    raise StoreUnavailable
                self._ask_at = self._clock() + PAUSE  # only this request tries Redis
        error_reply: Exception | None = None
        try:
            yield
        except FAULTS as error:
            # Memory full, read-only, not permitted, a counter that is not a number, a lost lock.
            replies = isinstance(error, (ResponseError, ValueError, LockError))
            if not replies or isinstance(error, ClusterDownError):
                self._record_outage(error)
                raise StoreUnavailable from None
            error_reply = error
        if self._down:
            self.lost_data()  # Redis may have loaded a dump with the epoch marker and no leases
            self._down = False
        if self._whole._logged and not self._whole.any_down():
            self._whole._logged = False
            log.warning("StoreBack: Redis responds again at %s", self.address)
        if isinstance(error_reply, LockError):
            raise error_reply
        if error_reply is not None:
            self._whole.log_refusal(error_reply)
            raise StoreUnavailable

    def _record_outage(self, error: Exception) -> None:
        with self._lock:
            self._ask_at = self._clock() + PAUSE
            if not self._down:
                self._down, self._down_since = True, self._clock()
                if not self._whole._logged:
                    self._whole._logged = True
                    text = "StoreDown: %s at %s; each process uses its own memory"
                    log.error(text, type(error).__name__, self.address)

    def any_down(self) -> bool:
        """Return True if Redis, or any primary of a cluster, is down."""
        parts = list(self._parts.items())
        return any(part.down and (not node or self.client.tags_of(node)) for node, part in parts)

    def log_refusal(self, error: Exception) -> None:
        """Log an error reply, at most once per minute for each kind.

        A read-only Redis may be a former primary. So after this error, all connections are closed
        when they are returned to the pool. New connections then lead to the present primary.
        """
        if isinstance(error, ReadOnlyError) and self._is_due("look for the primary", PAUSE):
            self.generation += 1
        refused = _REFUSED.search(str(error))
        kind = type(error).__name__ + (f" ({refused[0]})" if refused else "")
        if self._is_due(f"log {kind}", REPEAT_LOG):
            log.error("StoreRefuses: %s at %s", kind, self.address)

    def _is_due(self, action: str, seconds: float) -> bool:
        """Return True if ``action`` was not done in the last ``seconds``, and record it as done."""
        now = self._clock()
        if now < self._not_before.get(action, 0):
            return False
        self._not_before[action] = now + seconds
        return True


_BOUNDED: dict[str, Any] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
}
"""The options of every connection: short timeouts, and no retries."""


class _Pool(BlockingConnectionPool):
    """A connection pool that tells its ``owner`` when a connection is returned to the pool."""

    owner: RedisConnection

    def __init__(self, **words: Any) -> None:
        words = {"max_connections": CONNECTIONS, "timeout": TIMEOUT, **words}
        super().__init__(**words)  # type: ignore[no-untyped-call]

    def release(self, connection: Any) -> None:
        """See redis-py."""
        self.owner.given_back(connection)
        super().release(connection)  # type: ignore[no-untyped-call]


def connect(url: str) -> RedisConnection:
    """Create the connections to the Redis at a URL, without sending anything yet.

    :param url: a URL as in ``authapp.shared``: see :mod:`authapp.store.redis_url`.
    :raises ValueError: if the URL or its options cannot be used.
    """
    parsed = read_url(url)
    options = {**_BOUNDED, **parsed.options, "decode_responses": False}  # values are bytes
    kind: Any = SSLConnection if parsed.tls else Connection
    if parsed.kind == SENTINEL:
        kind = SentinelManagedSSLConnection if parsed.tls else SentinelManagedConnection
    address = ",".join(f"{host}:{port}" for host, port in parsed.hosts)
    pool = _Pool(connection_class=kind, **options)
    if parsed.kind == SENTINEL:
        words = {**_BOUNDED, **parsed.sentinel_options, "ssl": parsed.tls}
        sentinels: Any = Sentinel(parsed.hosts, sentinel_kwargs=words)  # type: ignore[no-untyped-call]
        # This object asks Sentinel for the address of the primary whenever a connection is made.
        pool.connection_kwargs["connection_pool"] = SentinelConnectionPoolProxy(  # type: ignore[no-untyped-call]
            pool, True, False, parsed.service, sentinels
        )
    try:
        kind(**pool.connection_kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from None
    owner = pool.owner = RedisConnection(Redis(connection_pool=pool), address=address)
    pool.connection_kwargs["redis_connect_func"] = owner.set_up
    if parsed.kind == CLUSTER:
        cluster = {
            **options,
            "ssl": parsed.tls,
            "connection_pool_class": type("_NodePool", (_Pool,), {"owner": owner}),
            "redis_connect_func": owner.read_run_id,
            "retry": Retry(NoBackoff(), 1),  # once more, with the nodes of the cluster read again
        }
        owner.client = LazyCluster(parsed.hosts, cluster)
        owner.clustered = True
    return owner
