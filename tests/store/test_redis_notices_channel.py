"""A process notices when its channel of notices is cut or silent, and then it asks Redis."""

import socket
from contextlib import suppress
from typing import Any

import pytest

from authapp.store import redis_notices
from authapp.store.protocol import Key
from eventually import eventually
from servers.redis_server import Address, RedisServer
from store import listeners
from store.listeners import A, B, alive

process = listeners.process


def test_a_channel_that_is_cut_is_made_again_and_nothing_is_missed(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    for number in range(10):
        key = Key("revoked session", str(number))
        eventually(lambda: alive(one))
        assert one.recall(key) == [None]
        redis_server.client.client_kill_filter(_type="pubsub")
        eventually(lambda: not alive(one), 2)
        two.put(key, "1", 60, notify=True)
        assert one.recall(key) == ["1"]


def test_a_channel_that_redis_py_has_connected_again_counts_as_cut(process: Any) -> None:
    """If another thread closes the connection of notices, redis-py connects again without an error.
    The process may have missed notices meanwhile, so it must ask Redis."""
    one, two = process(), process()
    assert one.recall(A) == [None]
    two.put(A, "1", 60)  # without a notice
    assert one.recall(A) == [None]
    check = one._notices._check

    def close_and_check() -> bool:
        one._notices._check = check
        one._redis.connection_pool.disconnect()
        return bool(check())

    one._notices._check = close_and_check
    eventually(lambda: one.recall(A) == ["1"])


class Muted(Address):
    """An address of Redis. A test can make it stop forwarding the notices."""

    def __init__(self, server: RedisServer) -> None:
        self.silent = False
        super().__init__(server)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        subscribes = False
        with suppress(OSError):
            while data := source.recv(65_536):
                subscribes |= b"authapp:changed" in data
                if not (self.silent and subscribes):
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        source.close()


def test_a_process_asks_while_its_channel_is_silent(
    process: Any, redis_server: RedisServer
) -> None:
    muted = Muted(redis_server)
    one, two = process(url=muted.url), process()
    assert one.recall(A) == [None]
    muted.silent = True
    two.put(A, "1", 60, notify=True)
    took = eventually(lambda: one.recall(A) == ["1"], 5)
    assert took < redis_notices.HEARTBEAT_TIMEOUT + 1
    assert not alive(one)
    muted.silent = False
    eventually(lambda: alive(one))
    muted.close()


class Deaf(Address):
    """An address of Redis. A test can make it lose what Redis sends to a subscribed process."""

    silent = False

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        is_redis = source.getpeername()[1] == self.server.port
        with suppress(OSError):
            while data := source.recv(65_536):
                if not (self.silent and is_redis and redis_notices.HEARTBEATS in data):
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        source.close()


def test_a_process_subscribes_again_if_its_channel_stays_silent(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the connection stays open but no heartbeat arrives, the process subscribes again."""
    monkeypatch.setattr(redis_notices, "RESUBSCRIBE", 0.5)

    def subscriptions() -> int:
        return int(redis_server.client.info("commandstats")["cmdstat_subscribe"]["calls"])

    deaf = Deaf(redis_server)
    one = process(url=deaf.url)
    before = subscriptions()
    deaf.silent = True
    eventually(lambda: subscriptions() > before)
    deaf.silent = False
    eventually(lambda: alive(one))
    deaf.close()


def test_a_process_asks_the_new_primary_and_listens_to_it(
    process: Any, redis_server: RedisServer, tmp_path: Any
) -> None:
    """After a failover, a process asks the new primary and receives its notices, although its open
    connections still lead to the former primary."""
    address = Address(redis_server)
    one, two = process(url=address.url), process(url=address.url)
    one.put(A, "1", 60, notify=True)
    assert one.recall(A) == [one.recall(A)[0]] == ["1"]
    (tmp_path / "other").mkdir()
    address.server = other = RedisServer(tmp_path / "other")
    redis_server.client.replicaof("127.0.0.1", other.port)
    two.put(B, "1", 60, notify=True)
    eventually(lambda: one.recall(A, B) == two.recall(A, B) == ["1", "1"])
    eventually(lambda: alive(one) and alive(two))
    channels = other.client.pubsub_numsub(redis_notices.CHANNEL)
    assert channels == [(redis_notices.CHANNEL, 2)]
    address.close()
    other.close()


def test_a_channel_is_not_alive_while_redis_stalls(process: Any, redis_server: RedisServer) -> None:
    one, two = process(), process()
    redis_server.pause()
    eventually(lambda: not alive(one) and not alive(two))
    one.put(A, "1", 60, notify=True)
    assert one.recall(A) == ["1"]
    redis_server.go_on()
    eventually(lambda: two.recall(A) == ["1"])
    eventually(lambda: alive(one) and alive(two))
