"""Redis loses data: it restarts empty, is restored from an older dump, or fails over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authapp.store.protocol import Key
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from authapp.store.resync import EPOCH, EPOCH_LIFE
from eventually import eventually
from servers.redis_server import Address, RedisServer
from store.conftest import OLD, A, B


def test_r11_a_restarted_empty_redis_gets_all_strings_again(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    for number in range(1200):
        one.put(Key("many", str(number)), "x", 60)
    redis_server.stop()
    one.get(A)
    redis_server.start()
    eventually(one.healthy, 5)
    assert two.get(Key("many", "0"), Key("many", "1199")) == ["x", "x"]


@pytest.mark.parametrize("how", ["flush", "restart"])
def test_r11_data_loss_is_detected_without_a_failed_command(
    process: Any, redis_server: RedisServer, how: str
) -> None:
    """If Redis loses its data, no command fails, because redis-py connects again without an error.
    The process must still notice the loss."""
    one, two = process(), process()
    one.put(A, "text", 60)
    assert two.get(A) == ["text"]
    if how == "flush":
        redis_server.client.flushall()
    else:
        redis_server.stop()
        redis_server.start()
    assert two.get(A) == [None], "two has no copy, and one has not detected the data loss yet"
    eventually(lambda: one.get(A) == ["text"] and two.get(A) == ["text"], 5)


@pytest.mark.parametrize("how", ["quick", "noticed", "full", "read-only"])
def test_r11_a_redis_restored_from_an_older_dump_is_resynced(
    process: Any, redis_server: RedisServer, how: str
) -> None:
    """If Redis is restored from a dump that was made before the last two writes, one string is
    missing, and one string has an older (smaller) value. The process writes both strings again."""
    one, two = process(), process()
    one.put(A, "1", 60)
    assert two.get(A, B) == ["1", None]
    redis_server.client.save()
    one.put(A, "2", 60)
    one.put(B, "signed out", 60)
    redis_server.stop()
    if how != "quick":
        assert one.get(A) == ["2"]
    redis_server.start()
    if how == "full":
        redis_server.client.config_set("maxmemory", "1")
    elif how == "read-only":
        redis_server.client.replicaof("127.0.0.1", "1")
    eventually(lambda: one.get(A, B) == ["2", "signed out"] and not one._connection._down, 5)
    if how in ("full", "read-only"):
        assert not one.healthy()
        redis_server.client.replicaof("NO", "ONE")
        redis_server.client.config_set("maxmemory", "0")
    eventually(lambda: two.get(A, B) == ["2", "signed out"], 5)
    assert one.get(A, B) == ["2", "signed out"]


class Failover(NamedTuple):
    """An address that leads to ``redis_server``, and later to another Redis server.

    :ivar one: a store that uses the address.
    :ivar two: a store that uses the other server.
    """

    address: Address
    other: RedisServer
    one: RedisStore
    two: RedisStore


@pytest.fixture
def failover(redis_server: RedisServer, tmp_path: Path) -> Iterator[Failover]:
    (tmp_path / "other").mkdir()
    other = RedisServer(tmp_path / "other")
    address = Address(redis_server)
    one, two = RedisStore(connect(address.url), [OLD]), RedisStore(connect(other.url), [OLD])
    try:
        yield Failover(address, other, one, two)
    finally:
        eventually(lambda: one._resync.thread is None and two._resync.thread is None, 5)
        pools = (each._redis.connection_pool for each in (one, two))
        for each in (*pools, other, address):
            each.close()


@pytest.mark.parametrize(
    "how",
    ["the old one goes on", "the old one follows the new one"],
    ids=["old primary keeps running", "old primary becomes a replica"],
)
def test_r11_connections_follow_a_failover_to_another_primary(
    redis_server: RedisServer, failover: Failover, how: str
) -> None:
    """After a failover, the address of Redis leads to the new primary, and no connection is closed.
    authapp does not use the open connections to the former primary again."""
    address, other, one, two = failover
    redis_server.client.config_set("repl-diskless-sync-delay", "0")
    other.client.replicaof("127.0.0.1", redis_server.port)
    eventually(lambda: other.client.info("replication")["master_link_status"] == "up", 5)
    one.get(A)
    other.client.replicaof("NO", "ONE")
    address.server = other
    if how == "the old one goes on":
        with one._redis.client() as busy:
            busy.ping()
            one.get(A)  # through a second connection, which is made to the new primary
    else:
        redis_server.client.replicaof("127.0.0.1", other.port)
    one.put(A, "signed out", 60)
    eventually(lambda: two.get(A) == ["signed out"], 5)
    eventually(one.healthy, 5)


def test_r11_a_string_written_to_the_former_primary_is_written_again(
    redis_server: RedisServer, failover: Failover
) -> None:
    """After a failover, a connection in the pool still leads to the former primary. If a process
    writes a string through this connection, it later writes the string to the new primary too."""
    address, other, one, two = failover
    one.get(A)
    marker = redis_server.client.get(EPOCH)
    assert other.client.set(EPOCH, marker)  # as replication does
    address.server = other
    one._redis.connection_pool.make_connection().connect()  # as the thread of notices does
    one.put(A, "signed out", 60)
    assert redis_server.keys()
    eventually(lambda: two.get(A) == ["signed out"], 5)


def test_r11_the_read_that_detects_a_data_loss_returns_the_own_string(
    process: Any, redis_server: RedisServer
) -> None:
    """If Redis is restored from an older dump, the read that notices this returns the newer string
    that the process itself has written."""
    one = process()
    one.put(A, "1", 60)
    (name,) = redis_server.keys()
    older = redis_server.client.get(name)
    one.put(A, "2", 60)
    assert one.get(A) == ["2"]
    eventually(lambda: not one._resync.pending, 5)
    redis_server.client.mset({name: older, EPOCH: b"the marker of the dump"})
    assert one.get(A) == ["2"]


def test_r11_a_process_reads_its_own_string_that_redis_has_dropped(
    process: Any, redis_server: RedisServer
) -> None:
    """If Redis evicts a string but keeps the epoch marker, the process that wrote the string can
    still read the string."""
    one = process()
    one.put(A, "text", 60)
    assert one.get(A) == ["text"]
    eventually(lambda: not one._resync.pending, 5)
    redis_server.client.delete(*redis_server.keys())
    assert one.get(A) == ["text"]


def test_r11_strings_are_readable_if_the_epoch_marker_cannot_be_set(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one.put(A, "text", 60)
    redis_server.client.delete(EPOCH)
    redis_server.client.config_set("maxmemory", "1")
    assert two.get(A) == ["text"]
    redis_server.client.config_set("maxmemory", "0")
    assert two.get(A) == ["text"]
    assert 0 < redis_server.client.ttl(EPOCH) <= EPOCH_LIFE


def test_r11_two_processes_agree_on_one_epoch_marker(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one._resync.see_epoch(None)
    made = redis_server.client.get(EPOCH)
    two._resync.see_epoch(None)
    assert redis_server.client.get(EPOCH) == made
    two.get(A)
    assert two._resync.epoch == one._resync.epoch == made
