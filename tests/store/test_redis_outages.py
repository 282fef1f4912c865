"""Redis is down, does not respond, is full or read-only, or refuses some commands."""

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from authapp.store import redis_connection
from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from fleet import OPERATIONS
from servers.redis_server import RedisServer
from store.conftest import OLD, A, B


def log_count(caplog: pytest.LogCaptureFixture, line: str, redis_server: RedisServer) -> int:
    """Return how often the log has a line about this Redis. Lines about other servers do not
    count."""
    return caplog.text.count(f"{line} at {redis_server.address}")


def test_a_connection_that_another_thread_closes_counts_as_an_outage(process: Any) -> None:
    """If another thread closes a connection, redis-py raises a TypeError. The request then uses the
    memory of the process."""
    one = process()
    one.put(A, "text", 60)
    (connection,) = one._redis.connection_pool._connections
    connection._parser._sock = None  # the first thing that the other thread does
    assert one.get(A) == ["text"]
    assert one._connection.down


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_r11_redis_goes_down_and_comes_up_again(
    process: Any, redis_server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = process(), process()
    one.put(A, "before", 60)
    getattr(redis_server, how)()
    began = time.monotonic()
    for _ in range(100):
        assert one.get(A, B) == ["before", None]
    one.put(B, "meanwhile", 60)
    one.put(A, "changed", 60)
    with one.lease(A) as lease:
        assert lease is Lease.UNSURE
    assert not one.healthy()
    assert time.monotonic() - began < 2, "a hanging Redis is tried only once per PAUSE"
    assert caplog.text.count(f"{redis_server.address}; each process uses its own memory") == 1

    redis_server.start() if how == "stop" else redis_server.go_on()
    eventually(one.healthy, 5)
    eventually(lambda: two.get(A, B) == ["changed", "meanwhile"], 5)
    assert log_count(caplog, "StoreBack: Redis responds again", redis_server) == 1


def test_r11_a_later_string_of_another_process_is_not_overwritten(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one.put(A, "1", 60)
    two.put(A, "2", 60)
    redis_server.pause()
    assert one.get(A) == ["1"]
    redis_server.go_on()
    eventually(one.healthy, 5)
    assert one.get(A) == two.get(A) == ["2"]


def test_r11_strings_are_kept_if_redis_is_down_and_then_full(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one.put(A, "before", 60)
    redis_server.pause()
    one.put(B, "meanwhile", 60)
    redis_server.go_on()
    redis_server.client.config_set("maxmemory", "1")
    two.get(A)
    eventually(lambda: one.get(A) and not one._connection._down, 5)
    assert one.get(A, B) == ["before", "meanwhile"]


def test_only_one_request_at_a_time_tries_a_hanging_redis(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    redis_server.pause()
    one.get(A)

    def timed(_: int) -> float:
        began = time.monotonic()
        one.get(A)
        return time.monotonic() - began

    give_up = time.monotonic() + redis_connection.PAUSE + 0.1
    waits: list[float] = []
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < give_up:
            waits += pool.map(timed, range(8))
    assert sum(wait > redis_connection.TIMEOUT / 2 for wait in waits) <= 2
    redis_server.go_on()


def test_a_redis_down_at_start_up_is_logged_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    shared = RedisStore(connect("redis://:pass-word@127.0.0.1:1/0"), [OLD])
    assert shared.get(A) == [None]
    assert "StoreDown: ConnectionError at 127.0.0.1:1; each process" in caplog.text
    assert "pass-word" not in caplog.text


def test_r11_a_read_only_redis_does_not_cause_a_reconnect_per_command(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    one.put(A, "text", 60)
    one._connection._clock = lambda: 1.0
    redis_server.client.replicaof("127.0.0.1", "1")

    def connections() -> int:
        return int(redis_server.client.info("stats")["total_connections_received"])

    before = connections()
    for number in range(50):
        one.put(Key("many", str(number)), "x", 60)
        one.get(A)
    assert connections() - before < 10
    redis_server.client.replicaof("NO", "ONE")


def test_r11_a_full_redis_refuses_writes_and_can_be_read(
    process: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A full Redis accepts no write, but processes can still read what other processes have
    stored."""
    one, two = process(), process()
    two.put(B, "of another", 60)
    redis_server.client.config_set("maxmemory", "1")
    for _ in range(3):
        one.put(A, "text", 60)
        with one.lease(A) as lease:
            assert lease is Lease.UNSURE
        assert one.get(A, B) == ["text", "of another"]
    assert log_count(caplog, "StoreRefuses: OutOfMemoryError", redis_server) == 1
    assert f"{redis_server.address}; each process uses its own memory" not in caplog.text
    assert not one.healthy()
    redis_server.client.config_set("maxmemory", "0")
    assert one.healthy()
    assert two.get(A) == ["text"]


def test_r11_a_process_reads_its_own_string_that_redis_refused(
    process: Any, redis_server: RedisServer
) -> None:
    """A process reads the newer string that a full Redis has refused. For example, a user signs out
    everywhere twice, and Redis is full the second time."""
    one = process()
    one.put(A, "1", 60)
    redis_server.client.config_set("maxmemory", "1")
    one.put(A, "2", 60)
    assert one.get(A, B) == ["2", None]
    redis_server.client.config_set("maxmemory", "0")
    eventually(one.healthy)  # the thread of the resync may be writing the same string
    assert process().get(A) == ["2"]


def test_each_kind_of_refusal_is_logged_once(
    process: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = process()
    redis_server.client.config_set("maxmemory", "1")
    assert not one.healthy()
    redis_server.client.config_set("maxmemory", "0")
    redis_server.client.replicaof("127.0.0.1", "1")
    assert not one.healthy()
    redis_server.client.replicaof("NO", "ONE")
    redis_server.client.execute_command("ACL", "SETUSER", "default", "-@scripting")
    assert not one.healthy(), "without scripts no process can be sure of its lease"
    for kind in ("OutOfMemoryError", "ReadOnlyError", "NoPermissionError (the 'evalsha' command)"):
        assert log_count(caplog, f"StoreRefuses: {kind}", redis_server) == 1


def test_the_documented_redis_rights_are_enough(
    redis_server: RedisServer, process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rights = re.search(r"Give the Redis user `([^`]+)`", OPERATIONS.read_text())
    assert rights
    words = ["ACL", "SETUSER", "few", "on", ">pw", "~authapp:*", *rights[1].split()]
    redis_server.client.execute_command(*words)
    one = RedisStore(connect(redis_server.url.replace("://", "://few:pw@")), [OLD])
    redis_server.client.config_set("maxmemory", "1")
    one.put(A, "text", 60)
    redis_server.client.config_set("maxmemory", "0")
    two = process()
    eventually(lambda: two.get(A) == ["text"], 5)
    with one.lease(B) as lease:
        assert lease is Lease.MINE
    assert one.healthy()
    assert "NoPermission" not in caplog.text
    one._redis.connection_pool.disconnect()


def test_the_store_works_without_the_right_to_call_info(
    process: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client.execute_command("ACL", "SETUSER", "default", "-info")
    one = process()
    one.put(A, "text", 60)
    assert one.healthy()
    assert one.get(A) == ["text"]
    assert "StoreRefuses: NoPermissionError (the 'info' command) at 127" in caplog.text
