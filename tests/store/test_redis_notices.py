"""Processes tell each other of revocations. A process that receives no notices asks Redis."""

from typing import Any

import pytest

from authapp.store import redis_notices
from authapp.store.protocol import Key, StoreUnavailable
from eventually import eventually
from servers.redis_server import RedisServer
from store import listeners
from store.conftest import NEW, OLD
from store.listeners import A, B, alive

process = listeners.process


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


def test_a_notice_that_failed_is_published_later(process: Any, redis_server: RedisServer) -> None:
    one = process()
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        one._notices.publish([b"name"])
    redis_server.start()
