"""Processes tell each other of revocations. A process that receives no notices asks Redis."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from authapp.store import redis_notices
from authapp.store.protocol import Key, StoreUnavailable
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from servers.redis_server import Address, RedisServer

OLD, NEW = b"an old secret of more than 32 bytes ..", b"a new secret of more than 32 bytes ..."
A, B = Key("revoked session", "a"), Key("revoked user", "b")


def alive(store: RedisStore) -> bool:
    return store._notices.moment() is not None


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Yield a function. Each call of it returns a store that stands for one more process.

    With ``told=True``, the call waits until this store receives notices.
    """
    processes: list[RedisStore] = []

    def start(*secrets: bytes, url: str = "", told: bool = True) -> RedisStore:
        store = RedisStore(connect(url or redis_server.url), secrets or (OLD,))
        processes.append(store)
        if told:
            eventually(lambda: alive(store))
        return store

    yield start
    for each in processes:
        each._resync.pending.clear()
        thread, each._notices.thread = each._notices.thread, None
        if thread is not None:
            thread.join(5)
        each._redis.connection_pool.disconnect()


def test_what_a_process_has_asked_is_not_asked_again(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    assert one.recall(A, B) == [None, None]
    with redis_server.client.monitor() as monitor:
        for _ in range(500):
            assert one.recall(A, B) == [None, None]
        redis_server.client.echo("done")
        commands = []
        while not commands or "ECHO" not in commands[-1].upper():
            commands.append(monitor.next_command()["command"])
    assert not [each for each in commands if each.startswith("MGET") and " authapp:mark " in each]
    assert one.get(A) == [None]


@pytest.mark.parametrize(
    "secrets",
    [((OLD,), (OLD,)), ((OLD,), (NEW, OLD)), ((NEW, OLD), (NEW,)), ((OLD, NEW), (NEW, OLD))],
)
def test_a_revocation_is_told_to_the_others(process: Any, secrets: Any) -> None:
    one, two = (process(*each) for each in secrets)
    assert one.recall(A, B) == two.recall(A, B) == [None, None]
    two.put(B, "1", 60, notify=True)
    assert two.recall(A, B) == [None, "1"], "the process itself knows it at once"
    eventually(lambda: one.recall(A, B) == [None, "1"], 1)
    one.put(B, "2", 60, notify=True)
    eventually(lambda: two.recall(B) == ["2"], 1)


def test_a_process_knows_its_own_change_without_a_notice(process: Any) -> None:
    one = process()
    assert one.recall(A) == [None]
    one.put(A, "1", 60)
    assert one.recall(A) == ["1"]


def test_a_string_read_before_a_notice_is_not_kept(process: Any) -> None:
    one = process()
    name = one._key_rings[0].name(A)
    before = one._notices.moment()
    one._notices.forget([name])  # the notice comes before the reply
    one._notices.keep({name: None}, before)
    assert one._notices.known([name]) is None


def test_a_process_that_is_not_told_asks(process: Any) -> None:
    one, two = process(told=False), process(told=False)
    assert not alive(one)
    assert one.recall(A) == [None]
    two.put(A, "1", 60, notify=True)
    assert one.recall(A) == ["1"]


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


@pytest.mark.parametrize("how", ["stop", "flushall"])
def test_sign_outs_are_known_after_redis_has_lost_its_data(
    process: Any, redis_server: RedisServer, how: str
) -> None:
    one, two = process(), process()
    one.put(A, "1", 60, notify=True)
    assert two.recall(B) == [None]
    if how == "flushall":
        redis_server.client.flushall()
    else:
        redis_server.stop()
        eventually(lambda: not alive(two))
        one.put(B, "1", 60, notify=True)
        assert one.recall(A, B) == ["1", "1"]
        redis_server.start()
    eventually(lambda: two.recall(A) == ["1"])
    eventually(lambda: alive(one) and alive(two))
    assert two.recall(B) == ([None] if how == "flushall" else ["1"])


def test_memory_is_bounded(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_notices, "KEPT", 100)
    one = process()
    for number in range(1000):
        one.recall(Key("revoked session", str(number)))
    assert 0 < len(one._notices._kept) <= 102


def test_the_thread_ends_when_no_request_needs_it(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_notices, "IDLE", 0.3)
    one = process()
    thread = one._notices.thread
    eventually(lambda: not thread.is_alive())
    assert one.recall(A) == [None]
    eventually(lambda: alive(one))
    assert one._notices.thread is not thread


def test_a_request_is_answered_although_no_thread_can_be_started(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = process(told=False)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", refuse)
        assert one.recall(A) == [None]
        assert not alive(one)
    eventually(lambda: alive(one))


@pytest.mark.parametrize("right", ["subscribe", "publish"])
def test_a_redis_user_who_may_not_subscribe_is_said_once_and_asked(
    process: Any, redis_server: RedisServer, right: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client.execute_command("ACL", "SETUSER", "default", f"-{right}")
    one, two = process(told=False), process(told=False)
    assert one.recall(A) == two.recall(A) == [None]
    line = f"StoreRefuses: NoPermissionError (the '{right}' command) at {redis_server.address}"
    eventually(lambda: caplog.text.count(line) >= 2)
    two.put(A, "1", 60, notify=True)
    assert one.recall(A) == ["1"]
    assert not alive(one)
    assert one.healthy()
    assert two.healthy()
    assert caplog.text.count(line) == 2, "once for each process"


@pytest.mark.parametrize("garbage", [b"", b"\xff", b" " * 1000, b"x" * 1_000_000])
def test_garbage_on_the_channel_is_ignored(
    process: Any, redis_server: RedisServer, garbage: bytes
) -> None:
    one = process()
    redis_server.client.publish(redis_notices.CHANNEL, garbage)
    for channel in redis_server.client.pubsub_channels(redis_notices.HEARTBEATS + b"*"):
        redis_server.client.publish(channel, garbage)
    process().put(A, "1", 60, notify=True)
    assert one.recall(A) == ["1"]
    thread = one._notices.thread
    eventually(lambda: alive(one))
    assert one._notices.thread is thread


def test_a_forked_process_asks_and_then_listens_by_itself(process: Any) -> None:
    """A forked process has a copy of its parent's cache of what Redis contains. The forked process
    must not use this copy."""
    one, two = process(), process()
    assert one.recall(A) == [None]
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        status = 1
        with suppress(BaseException):
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            assert one.recall(A) == ["1"]
            eventually(lambda: alive(one))
            assert one.recall(A) == ["1"]
            status = 0
        os._exit(status)
    os.read(ready[0], 1)
    two.put(A, "1", 60, notify=True)
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (*ready, *go):
        os.close(end)


@pytest.mark.parametrize("shared", ["memory:", "redis"])
def test_no_thread_is_started_before_the_first_request(
    redis_server: RedisServer, shared: str
) -> None:
    """No thread is started before the first request. uWSGI and gunicorn (with ``--preload``) create
    the application before they fork, and a fork does not copy threads."""
    code = (
        "import sys, threading, authapp\n"
        "from site_under_test import settings\n"
        "authapp.main({}, **settings('http://backend.invalid', shared=sys.argv[1]))\n"
        "print(threading.active_count())\n"
    )
    url = redis_server.url if shared == "redis" else shared
    words = [sys.executable, "-c", code, url]
    env = {**os.environ, "PYTHONPATH": "tests"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env, check=True)
    assert done.stdout == "1\n"


def test_a_channel_is_not_alive_while_redis_stalls(process: Any, redis_server: RedisServer) -> None:
    one, two = process(), process()
    redis_server.pause()
    eventually(lambda: not alive(one) and not alive(two))
    one.put(A, "1", 60, notify=True)
    assert one.recall(A) == ["1"]
    redis_server.go_on()
    eventually(lambda: two.recall(A) == ["1"])
    eventually(lambda: alive(one) and alive(two))


def test_a_notice_that_failed_is_published_later(process: Any, redis_server: RedisServer) -> None:
    one = process()
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        one._notices.publish([b"name"])
    redis_server.start()
