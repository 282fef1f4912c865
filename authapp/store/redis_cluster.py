"""The client of a Redis cluster (``authapp.shared = redis+cluster://…``).

redis-py's client follows failovers and moved slots (``MOVED``, ``ASK``). The client connects when
it is created, but an application must start even if the cluster is down. So :class:`LazyCluster`
creates the client at the first command.
"""

import hashlib
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, SlotNotCoveredError

from authapp.store.redis_encryption import TAGS

READ_AGAIN = 0.5
"""Seconds between two attempts of this module to read which node has which slots. redis-py may read
this more often."""

FAULTS = (RedisError, RedisClusterException, OSError, ValueError, TypeError, AttributeError)
"""The errors of a command. redis-py raises the last three if another thread closes the connection
during the command. A thread that reads again which node has which slots closes connections."""


class _Cluster(RedisCluster):
    """redis-py's client. It loads scripts even if a node is down."""

    def script_load(self, script: Any) -> Any:
        """Load a script at each primary that responds.

        redis-py itself would stop at the first primary that does not respond, and the remaining
        primaries would not get the script. If no primary responds, the command that runs the script
        fails later.

        :returns: the SHA-1 digest of the script, as ``SCRIPT LOAD`` returns it.
        """
        for node in self.get_primaries():  # type: ignore[no-untyped-call]
            with suppress(RedisError, RedisClusterException, OSError):
                self.execute_command("SCRIPT LOAD", script, target_nodes=node)  # type: ignore[no-untyped-call]
        text = script.encode() if isinstance(script, str) else script
        return hashlib.sha1(text, usedforsecurity=False).hexdigest()


class LazyCluster:
    """A client like redis-py's ``RedisCluster``, which connects only at the first command.

    :param hosts: some nodes of the cluster.
    :param options: the options of all connections.
    """

    def __init__(self, hosts: tuple[tuple[str, int], ...], options: dict[str, Any]) -> None:
        self._nodes = [ClusterNode(*each) for each in hosts]  # type: ignore[no-untyped-call]
        self._options = options
        self._lock = threading.Lock()
        self._client: Any = None
        self._read_at = 0.0
        self._primaries: dict[bytes, object] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected(), name)

    def register_script(self, script: str | bytes) -> Script:
        """Return a script that is loaded at its first use."""
        text = script if isinstance(script, bytes) else script.encode()
        return Script(self, text)  # type: ignore[arg-type]

    def info(self, section: str) -> list[dict[str, Any]]:
        """Return a section of ``INFO`` from each primary."""
        replies = self._connected().info(section, target_nodes=RedisCluster.PRIMARIES)
        # redis-py returns the reply alone if there is only one primary.
        return [each for each in replies.values() if isinstance(each, dict)] or [replies]

    def primary(self, tag: bytes) -> tuple[str, int] | None:
        """Return the primary that has the keys with a hash tag, or None if no primary is known."""
        if self._client is None:
            return None
        try:
            node = self._client.get_node_from_key(tag)
        except SlotNotCoveredError:
            self._read_nodes()
            return None
        return str(node.host), int(node.port)

    def _read_nodes(self) -> None:
        """Read again which node has which slots, at most once in :data:`READ_AGAIN` seconds.

        This is needed if redis-py knows no node for a slot. ``get_node_from_key`` then raises an
        error, and does not read the nodes again.
        """
        now = time.monotonic()
        if now >= self._read_at:
            self._read_at = now + READ_AGAIN
            with suppress(RedisError, RedisClusterException, OSError):
                self._client.nodes_manager.initialize()

    def new_primaries(self, tag: bytes) -> set[object]:
        """Return the nodes that have become primaries since the last call.

        :param tag: a hash tag. If the primary of this hash tag has not changed, the result is
            empty.
        """
        before = self._primaries
        if before.get(tag) == self.primary(tag):
            return set()
        now = self._primaries_of({*TAGS, *before, tag})
        new = set(now.values()) - set(before.values()) - {None} if before else set()
        if new:
            # After a redirection, redis-py knows the new node of one slot, and not of the others.
            self._read_nodes()
            now = self._primaries_of(now)
        self._primaries = now
        return new

    def _primaries_of(self, tags: Iterable[bytes]) -> dict[bytes, object]:
        return {each: self.primary(each) for each in tags}

    def tags_of(self, node: object) -> set[bytes]:
        """Return the hash tags whose keys a primary has, as last known."""
        return {tag for tag, primary in list(self._primaries.items()) if primary == node}

    def disconnect(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.disconnect_connection_pools()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                try:
                    self._client = _Cluster(startup_nodes=self._nodes, **self._options)
                except RedisClusterException as error:
                    raise RedisConnectionError(str(error)) from None
            return self._client
