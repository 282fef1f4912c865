"""One process at a time holds a lease in Redis, also when Redis fails or gives no leases."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from authapp.store import redis_connection, redis_leases
from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_leases import RedisLeases
from eventually import eventually
from servers.redis_server import RedisServer
from store.conftest import NEW, OLD, A, B


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


def test_a_second_node_without_leases_is_logged_although_the_first_one_was_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = (RedisConnection(Redis()) for _ in range(2))
    leases = RedisLeases(first, [], patience=0.1)
    for node in (first, second):
        assert leases._unsure((node,)) is Lease.UNSURE
        time.sleep(0.11)
        for _ in range(2):
            assert leases._unsure((node,)) is Lease.ALONE
    assert caplog.text.count("StoreAlone") == 2
