"""A process writes again to Redis what Redis did not accept."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from authapp.store import resync
from authapp.store.protocol import Key
from authapp.store.redis import RedisStore
from eventually import eventually
from servers.redis_server import RedisServer
from store.conftest import A, B


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


def test_r11_a_lone_surrogate_does_not_block_the_resync(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    redis_server.client.config_set("maxmemory", "1")
    one.put(A, "\ud800", 60)
    one.put(B, "text", 60)
    redis_server.client.config_set("maxmemory", "0")
    eventually(lambda: two.get(A, B) == ["\ud800", "text"], 5)


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
