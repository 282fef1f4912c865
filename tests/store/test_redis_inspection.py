"""The inspection of Redis finds evictions, and processes with other secrets or versions."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from authapp.session.encryption import fingerprint
from authapp.store import redis_inspection
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from authapp.store.redis_inspection import PROCESSES, REMEDIES
from servers import Served
from servers.redis_server import RedisServer
from site_under_test import Site

OLD, NEW = b"an old secret of more than 32 bytes ..", b"a new secret of more than 32 bytes ..."
OTHER = b"the secret of another site, 32 bytes and more"


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Yield a function that returns the store of another process."""
    processes: list[RedisStore] = []

    def start(*secrets: bytes) -> RedisStore:
        processes.append(RedisStore(connect(redis_server.url), secrets or (OLD,)))
        return processes[-1]

    yield start
    for each in processes:
        each._redis.connection_pool.disconnect()


def inspect(store: RedisStore) -> list[str]:
    """Return the problems of a store, as if a minute had passed since its last inspection."""
    store._inspection._next = 0.0
    return store.problems()


@pytest.mark.parametrize(
    "policy", ["volatile-lru", "volatile-ttl", "allkeys-random", "volatile-lfu"]
)
def test_a_policy_that_drops_keys_is_logged_once_with_the_remedy(
    process: Any, redis_server: RedisServer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = process()
    assert one.problems() == []
    redis_server.client.config_set("maxmemory-policy", policy)
    assert one.problems() == [], "Redis is asked every minute"
    assert inspect(one) == inspect(one) == ["eviction"]
    line = f"StoreUnsuited: {redis_server.address}: {REMEDIES['eviction']}"
    assert caplog.text.count(line) == 1
    redis_server.client.config_set("maxmemory-policy", "noeviction")
    assert inspect(one) == []


def test_keys_that_were_dropped_are_noticed(process: Any, redis_server: RedisServer) -> None:
    one = process()
    assert inspect(one) == []
    redis_server.client.config_set("maxmemory-policy", "allkeys-lru")
    redis_server.client.config_set("maxmemory", "2mb")
    for number in range(3000):
        redis_server.client.set(f"other:{number}", "x" * 1000)
    redis_server.client.config_set("maxmemory", "0")
    redis_server.client.config_set("maxmemory-policy", "noeviction")
    assert redis_server.client.info("stats")["evicted_keys"] > 0
    assert inspect(one) == ["eviction"]
    assert inspect(one) == [], "no key was dropped in the last minute"


@pytest.mark.parametrize(
    ("mine", "theirs", "problems"),
    [
        ((OLD,), (OLD,), []),
        ((OLD,), (OLD, NEW), []),
        ((OLD, NEW), (NEW, OLD), []),
        ((NEW, OLD), (NEW,), []),
        ((OLD,), (OTHER,), ["secrets"]),
        ((OLD,), (NEW, OLD), ["secrets"]),  # the first step of changing the secret was left out
    ],
)
def test_processes_whose_cookies_the_others_cannot_decrypt_are_noticed(
    process: Any, mine: Any, theirs: Any, problems: list[str]
) -> None:
    one, two = process(*mine), process(*theirs)
    one.problems()
    assert two.problems() == problems
    assert inspect(one) == problems


def test_a_process_that_has_ended_is_forgotten(process: Any, redis_server: RedisServer) -> None:
    process(OTHER).problems()
    (written,) = redis_server.client.zrange(PROCESSES, 0, -1)
    assert 0 < redis_server.client.ttl(PROCESSES) <= redis_inspection.REMEMBERED
    redis_server.client.zadd(PROCESSES, {written: time.time() - redis_inspection.REMEMBERED - 1})
    assert process().problems() == []


def test_redis_holds_the_fingerprints_that_authapp_check_prints(
    process: Any, redis_server: RedisServer
) -> None:
    process(OLD, NEW).problems()
    (written,) = redis_server.client.zrange(PROCESSES, 0, -1)
    assert json.loads(written) == {"version": 1, "secrets": [fingerprint(OLD), fingerprint(NEW)]}
    assert fingerprint(OLD) != fingerprint(NEW)
    assert OLD not in written


@pytest.mark.parametrize(
    "written",
    [
        *("{}", "", "[]", "null", "\xff", "[" * 100_000, "1"),
        '{"version": 1, "secrets": []}',
        json.dumps({"version": 2, "secrets": [fingerprint(OLD)]}),
    ],
)
def test_another_version_or_garbage_is_noticed(
    process: Any, redis_server: RedisServer, written: str
) -> None:
    redis_server.client.zadd(PROCESSES, {written: time.time()})
    assert process().problems() == ["version"]


def test_a_redis_that_refuses_info_is_used_and_that_is_said_once(
    process: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client.execute_command("ACL", "SETUSER", "default", "-info", "-config")
    one = process()
    assert inspect(one) == inspect(one) == []
    one._redis.connection_pool.disconnect()  # each new connection asks again
    assert inspect(one) == []
    line = f"StoreRefuses: NoPermissionError (the 'info' command) at {redis_server.address}, so"
    assert caplog.text.count(line) == caplog.text.count("Store") == 1
    assert one.healthy()


def test_nothing_is_known_while_redis_is_down(process: Any, redis_server: RedisServer) -> None:
    one = process()
    redis_server.stop()
    assert inspect(one) == []
    redis_server.start()


def test_the_deep_health_check_names_the_problems(
    backend: Served, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client.config_set("maxmemory-policy", "volatile-lru")
    site = Site(backend.url, shared=redis_server.url)
    assert "StoreUnsuited" in caplog.text, "it is said at start-up"
    answer = site.get("/health?deep=1", status=200).json
    assert answer["shared_problems"] == ["eviction"]
    assert site.get("/health").json == {"status": "ok"}
