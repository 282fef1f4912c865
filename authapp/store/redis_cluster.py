"""The client of a Redis cluster (``authapp.shared = redis+cluster://…``).

redis-py's client follows failovers and moved slots (``MOVED``, ``ASK``). It connects when it is
created, but an application must start even if the cluster is down. So :class:`LazyCluster` creates
the client at the first command.
"""

import threading
from collections.abc import Callable
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException


class LazyCluster:
    """A client with the interface of redis-py's ``RedisCluster``. It connects at the first command.

    :param hosts: some nodes of the cluster.
    :param options: the options of all connections.
    :param is_up: a function to call when the client has connected. Its argument is the addresses of
        the primaries.
    """

    def __init__(
        self,
        hosts: tuple[tuple[str, int], ...],
        options: dict[str, Any],
        is_up: Callable[[set[tuple[str, int]]], None],
    ) -> None:
        self._nodes = [ClusterNode(*each) for each in hosts]  # type: ignore[no-untyped-call]
        self._options = options
        self._is_up = is_up
        self._lock = threading.Lock()
        self._client: Any = None

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

    def disconnect(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.disconnect_connection_pools()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                try:
                    client: Any = RedisCluster(startup_nodes=self._nodes, **self._options)
                except RedisClusterException as error:
                    raise RedisConnectionError(str(error)) from None
                self._is_up({(str(each.host), int(each.port)) for each in client.get_primaries()})
                self._client = client
            return self._client
