"""The store with a real Redis, also when Redis fails (R11 to R13 in docs/security.md)."""

import base64
import hmac
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple

import pytest

from authapp.session.encryption import derive
from authapp.store import redis_connection, redis_leases, resync
from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from authapp.store.redis_leases import RedisLeases
from authapp.store.resync import EPOCH, EPOCH_LIFE
from eventually import eventually
from fleet import OPERATIONS
from servers.redis_server import Address, RedisServer

OLD, NEW = b"an old secret of more than 32 bytes ..", b"a new secret of more than 32 bytes ..."
A, B = Key("purpose", "secret a"), Key("purpose", "secret b")


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Yield a function that returns the store of another process."""
    processes = []

    def start(*secrets: bytes) -> RedisStore:
        processes.append(RedisStore(connect(redis_server.url), secrets or (OLD,)))
        return processes[-1]

    yield start
    for each in processes:
        each._resync.pending.clear()  # so that the resync thread ends
        eventually(lambda each=each: each._resync.thread is None, 5)
        each._redis.connection_pool.disconnect()


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


def test_a_string_of_one_process_is_read_by_the_others(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    assert one.get(A, B) == [None, None]
    one.put(A, "text", 60)
    assert two.get(B, A) == [None, "text"]
    (name,) = redis_server.keys()
    assert 0 < redis_server.client.pttl(name) <= 60_000
    assert one.healthy()


def test_r13_redis_contains_no_plain_keys_or_values(
    process: Any, redis_server: RedisServer
) -> None:
    process().put(A, "text", 60)
    (name,) = redis_server.keys()
    assert b"secret" not in name
    assert b"text" not in redis_server.client.get(name)


def test_r13_key_names_are_keyed_digests(process: Any, redis_server: RedisServer) -> None:
    """Threat R13. A key in Redis is a keyed hash. An attacker who has stolen a token and can read
    Redis cannot find the entry of the token."""
    process().put(A, "text", 60)
    key = derive(OLD, "authapp shared names", 32)
    digest = hmac.digest(key, b"purpose\0secret a", "sha256")
    assert redis_server.keys() == [b"authapp:" + base64.urlsafe_b64encode(digest)]


def test_r13_a_value_moved_to_another_key_is_not_decrypted(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    value = redis_server.client.get(name)
    one.put(B, "other", 60)
    (other,) = set(redis_server.keys()) - {name}
    redis_server.client.set(other, value)
    assert two.get(A, B) == ["text", None]


@pytest.mark.parametrize("garbage", [b"", b"x", b"x" * 12, b"x" * 28, b"x" * 1_000_000])
def test_r11_garbage_under_our_key_is_ignored(
    process: Any, redis_server: RedisServer, garbage: bytes
) -> None:
    one = process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    redis_server.client.set(name, garbage)
    assert process().get(A) == [None]
    assert one.get(A) == ["text"], "the process reads its own copy"


def test_r11_a_value_of_another_type_is_ignored_and_replaced(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    redis_server.client.delete(name)
    redis_server.client.lpush(name, "x")
    assert process().get(A) == [None]
    one.put(A, "again", 60)
    assert process().get(A) == ["again"]
    assert one.healthy()


def test_processes_share_data_while_secrets_are_changed(process: Any) -> None:
    before, during, after = process(OLD), process(NEW, OLD), process(NEW)
    before.put(A, "from before", 60)
    during.put(B, "from during", 60)
    assert during.get(A) == ["from before"]
    assert before.get(B) == ["from during"]
    assert after.get(A, B) == [None, "from during"]
    during.put(A, "1", 60)
    before.put(A, "2", 60)  # a later sign-out everywhere, stored with the old secret only
    assert during.get(A) == before.get(A) == ["2"]
    with before.lease(A) as first, during.lease(A) as second:
        assert (first, second) == (Lease.MINE, Lease.THEIRS)
    with after.lease(A) as first, during.lease(A) as second:
        assert (first, second) == (Lease.MINE, Lease.THEIRS)
    with during.lease(A) as first, after.lease(A) as second, before.lease(A) as third:
        assert (first, second, third) == (Lease.MINE, Lease.THEIRS, Lease.THEIRS)


def test_a_lease_is_held_by_one_process(process: Any, redis_server: RedisServer) -> None:
    one, two = process(), process()
    with one.lease(A) as mine, two.lease(A) as theirs, two.lease(B) as other:
        assert (mine, theirs, other) == (Lease.MINE, Lease.THEIRS, Lease.MINE)
    with two.lease(A) as free:
        assert free is Lease.MINE
    assert redis_server.keys() == []


def test_processes_with_their_secrets_in_another_order_do_not_block_each_other(
    process: Any,
) -> None:
    """While the secrets are changed, two processes may have the secrets in a different order.
    Exactly one of the two processes gets the lease."""
    both = process(OLD, NEW), process(NEW, OLD)
    together = Barrier(2, timeout=5)

    def take(store: RedisStore, number: int) -> Lease:
        together.wait()
        with store.lease(Key("purpose", str(number))) as lease:
            together.wait()
            return lease

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            assert set(pool.map(take, both, [number] * 2)) == {Lease.MINE, Lease.THEIRS}


def test_r5_a_lease_does_not_expire_while_its_holder_is_slow(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "LEASE", 0.2)
    one, two = process(), process()
    with one.lease(A) as mine:
        assert mine is Lease.MINE
        over = time.monotonic() + 0.6
        while time.monotonic() < over:
            with two.lease(A) as theirs:
                assert theirs is Lease.THEIRS
    before = threading.active_count()
    with two.lease(A) as free:
        assert free is Lease.MINE
    assert threading.active_count() <= before, "no thread is left over"


def test_r4_a_lease_expires_after_its_holder_has_died(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "LEASE", 0.2)
    # No process extends the lease, as if its holder had been killed.
    monkeypatch.setattr(RedisLeases, "_keep", lambda *args: None)
    one, two = process(), process()

    def free() -> bool:
        with two.lease(A) as lease:
            return lease is Lease.MINE

    with one.lease(A):
        assert not free()
        eventually(free, 5)


def test_releasing_a_lost_lease_does_not_fail(process: Any, redis_server: RedisServer) -> None:
    one = process()
    with one.lease(A) as mine:
        assert mine is Lease.MINE
        redis_server.client.flushall()
    assert one.healthy()


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
    """If Redis is restored from a dump that is older than two writes, one string is missing, and
    one string has an older (smaller) value. The process writes both strings again."""
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


def act_once_around_resync(
    shared: RedisStore, act: Callable[[], object], *, after: bool
) -> threading.Event:
    """Arrange that the next resync calls ``act`` once.

    :param after: True to call ``act`` just after the resync has written to Redis, False to call
        ``act`` just before that.
    :returns: an event that is set when ``act`` has returned.
    """
    replace, done = shared._resync._replace, threading.Event()
    once = threading.Lock()  # ``act`` may start another resync

    def act_once() -> None:
        if once.acquire(blocking=False):
            act()
            done.set()

    def replace_and_act(names: Any, values: Any) -> Any:
        if not after:
            act_once()
        answer = replace(names, values)
        if after:
            act_once()
        return answer

    shared._resync._replace = replace_and_act  # type: ignore[assignment]
    return done


def test_r11_resync_does_not_overwrite_a_string_stored_meanwhile(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    redis_server.client.config_set("maxmemory", "1")

    def make_room() -> None:
        redis_server.client.config_set("maxmemory", "0")
        two.put(A, "2", 60)

    done = act_once_around_resync(one, make_room, after=False)
    one.put(A, "1", 60)
    eventually(done.is_set, 5)
    eventually(lambda: not one._resync.pending, 5)
    assert one.get(A) == two.get(A) == ["2"]


def test_r11_resync_does_not_overwrite_a_string_that_was_stored_while_it_read(
    process: Any, redis_server: RedisServer
) -> None:
    """If a process stores another string under the same key during a resync, this last string is
    kept, even if it is not the greatest."""
    one, two = process(), process()
    redis_server.client.config_set("maxmemory", "1")
    mget, once = one._redis.mget, threading.Lock()

    def put_and_read(names: Any) -> Any:
        if once.acquire(blocking=False):
            redis_server.client.config_set("maxmemory", "0")
            one.put(A, "1", 60)
        return mget(names)

    one._redis.mget = put_and_read
    one.put(A, "2", 60)
    eventually(lambda: not one._resync.pending, 5)
    assert one.get(A) == two.get(A) == ["1"]


def test_r11_a_string_stored_during_a_resync_stays_pending(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()

    def put_another() -> None:
        redis_server.client.config_set("maxmemory", "1")
        one.put(A, "2", 60)

    redis_server.client.config_set("maxmemory", "1")
    done = act_once_around_resync(one, put_another, after=True)
    one.put(A, "1", 60)
    redis_server.client.config_set("maxmemory", "0")
    eventually(done.is_set, 5)
    assert one.get(A) == ["2"]
    redis_server.client.config_set("maxmemory", "0")
    eventually(lambda: two.get(A) == ["2"], 5)


def test_r11_strings_lost_during_a_resync_stay_pending(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()

    def flush() -> None:
        redis_server.client.flushall()
        one.get(B)  # detects that the epoch marker is missing

    redis_server.client.config_set("maxmemory", "1")
    done = act_once_around_resync(one, flush, after=True)
    one.put(A, "text", 60)
    redis_server.client.config_set("maxmemory", "0")
    eventually(done.is_set, 5)
    eventually(lambda: two.get(A) == ["text"], 5)


def test_r11_the_newest_pending_write_is_resynced_first(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resync writes the newest string first. So a new sign-out does not wait for older
    strings."""
    monkeypatch.setattr(resync, "_BATCH", 1)
    one, told = process(), []
    one.put(B, "earlier", 60)
    one.put(A, "later", 60)
    replace = one._resync._replace

    def note(names: Any, values: Any) -> Any:
        told.extend(names)
        return replace(names, values)

    one._resync._replace = note
    redis_server.client.flushall()
    one.get()  # detects that the epoch marker is missing, so both strings become pending
    eventually(lambda: len(told) == 2, 5)
    assert told == [one._key_rings[0].name(key) for key in (A, B)]


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


def test_r11_a_lone_surrogate_does_not_block_the_resync(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    redis_server.client.config_set("maxmemory", "1")
    one.put(A, "\ud800", 60)
    one.put(B, "text", 60)
    redis_server.client.config_set("maxmemory", "0")
    eventually(lambda: two.get(A, B) == ["\ud800", "text"], 5)


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


def test_r11_a_late_resync_does_not_hide_a_newer_string(
    process: Any, redis_server: RedisServer
) -> None:
    """While Redis is down, one process stores a string. Then another process stores a newer string
    in Redis. The late resync of the first process does not overwrite the newer string. For example,
    the strings are two sign-outs everywhere."""
    one, two = process(), process()
    redis_server.stop()
    one.put(A, "1", 60)
    redis_server.start()
    two.put(A, "2", 60)
    eventually(two.healthy, 5)
    eventually(one.healthy, 5)
    assert one.get(A) == two.get(A) == ["2"]


def test_r11_expired_pending_writes_are_dropped(process: Any, redis_server: RedisServer) -> None:
    one = process()
    redis_server.client.config_set("maxmemory", "1")
    one.put(A, "text", 60)
    for number in range(100):
        one.put(Key("short", str(number)), "x", 0)
    eventually(lambda: set(one._resync.pending) == {A}, 5)
    redis_server.client.config_set("maxmemory", "0")
    assert one.healthy()
    assert process().get(A) == ["text"]


def test_r11_pending_writes_are_resynced_without_further_requests(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread writes all pending strings to Redis, and then ends. If no thread can be started, the
    next write starts one."""
    one, two = process(), process()
    redis_server.stop()
    one.put(A, "text", 60)
    one.put(B, "another", 60)
    redis_server.start()
    eventually(lambda: two.get(A, B) == ["text", "another"], 5)
    eventually(lambda: one._resync.thread is None, 5)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    redis_server.client.config_set("maxmemory", "1")
    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", refuse)
        one.put(A, "text of later", 60)
    redis_server.client.config_set("maxmemory", "0")
    one.put(B, "too", 60)
    eventually(lambda: two.get(A, B) == ["text of later", "too"], 5)


def test_a_process_that_shuts_down_does_not_wait_for_redis_for_ever(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends while Redis is down waits only a limited time. In this test, the main
    thread only seems to end. tests/serving/test_stopping.py stops a real process."""
    one, two = process(), process()
    redis_server.stop()
    with monkeypatch.context() as ending:
        ending.setattr(resync, "FLUSH_ON_SHUTDOWN", 0.2)
        ending.setattr(threading, "main_thread", threading.Thread)
        one.put(A, "text", 60)
        eventually(lambda: not one._resync.thread.is_alive(), 5)
    assert set(one._resync.pending) == {A}
    redis_server.start()
    eventually(lambda: one.get(A) and two.get(A) == ["text"], 5)


def test_r11_a_refused_or_lost_lease_is_taken_as_soon_as_possible(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis is full, it refuses a lease. When Redis has room again, the process takes the lease.
    When Redis then loses the lease, the process takes the lease again."""
    monkeypatch.setattr(redis_leases, "LEASE", 0.4)
    one, two = process(), process()

    def is_theirs() -> bool:
        with two.lease(A) as lease:
            return lease is Lease.THEIRS

    redis_server.client.config_set("maxmemory", "1")
    with one.lease(A) as lease:
        assert lease is Lease.UNSURE
        redis_server.client.config_set("maxmemory", "0")
        eventually(is_theirs, 5)
        redis_server.client.flushall()
        eventually(is_theirs, 5)
    assert not is_theirs()


def test_r11_a_lease_taken_during_a_stall_is_recognised_as_ours(
    process: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a stall, Redis sets a lease, but responds too late. When the process tries again, it
    finds that the lease is taken, and must see that the lease is its own."""
    one = process()
    redis_server.pause()
    threading.Timer(redis_connection.TIMEOUT + 0.1, redis_server.go_on).start()
    with one.lease(A) as lease:
        assert lease is Lease.MINE
    assert redis_server.keys() == []


def test_the_option_decode_responses_has_no_effect(redis_server: RedisServer) -> None:
    server = connect(f"{redis_server.url}?decode_responses=true")
    shared = RedisStore(server, [OLD])
    shared.put(A, "text", 60)
    assert RedisStore(server, [OLD]).get(A) == ["text"]
    assert shared.healthy()
    server.client.connection_pool.disconnect()


def test_r11_a_lease_waits_for_a_stall_although_other_commands_fail(
    process: Any, redis_server: RedisServer
) -> None:
    """Threat R11. During a stall, the process tries to take the lease until Redis responds. If
    another command fails meanwhile, the next try is later, but the process still tries."""
    one = process()
    one.get(A)
    redis_server.pause()
    threading.Timer(0.6, redis_server.go_on).start()
    others = threading.Timer(0.2, one.get, (B,))
    others.start()
    with one.lease(A) as lease:
        assert lease is Lease.MINE
    others.join()


def test_a_lease_that_was_never_held_is_not_released(
    process: Any, redis_server: RedisServer
) -> None:
    """While Redis is down, a process sends it only one command every 0.5 seconds (``PAUSE``). The
    process must not use this command to release a lease that it never had."""
    one = process()
    redis_server.stop()
    one.get(A)
    eventually(lambda: not one._connection.stalled, 5)
    with one.lease(A) as lease:
        assert lease is Lease.UNSURE
        redis_server.start()
        eventually(lambda: time.monotonic() >= one._connection._ask_at, 5)
    assert one.healthy()


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


def test_r11_writes_to_a_read_only_redis_are_resynced_later(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    redis_server.client.replicaof("127.0.0.1", "1")
    one.put(A, "text", 60)
    assert one.get(A) == ["text"]
    redis_server.client.replicaof("NO", "ONE")
    one.put(B, "more", 60)
    two = process()
    eventually(lambda: two.get(A, B) == ["text", "more"], 5)


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
