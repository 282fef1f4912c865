"""What a process writes to an index of sessions that others write too."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from authapp.session.session_limits import SessionLimits
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from renewal.index_machine import Machine
from servers.redis_server import RedisServer


@pytest.fixture
def processes(redis_server: RedisServer) -> Iterator[list[Machine]]:
    connections = [connect(redis_server.url) for _ in range(2)]
    stores = [RedisStore(each, [b"a secret of more than 32 bytes, 1"]) for each in connections]
    yield [Machine(store) for store in stores]
    for each in connections:
        each.client.connection_pool.disconnect()


def test_processes_share_the_index_and_it_fills_again_after_redis_was_emptied(
    redis_server: RedisServer, processes: list[Any]
) -> None:
    one, other = processes
    a, b = one.start("a"), other.start("b")
    assert set(one.listed()) == set(other.listed()) == {"a", "b"}
    names = redis_server.keys()
    dump = b"".join(redis_server.client.get(name) or b"" for name in names)
    assert b"Firefox" not in dump
    assert b"192.0.2.1" not in dump
    redis_server.client.flushall()
    one.use(a)
    other.use(b)
    eventually(lambda: set(one.listed()) == set(other.listed()) == {"a", "b"})
    other.index.end(1, a.digest)
    assert one.revocation.revoked(a)
    assert one.listed() == ["b"]
    redis_server.stop()
    assert other.listed() == ["b"]  # from the process's own memory
    one.use(a)
    one.index.end_others(a)
    assert not one.revocation.revoked(a)


def test_a_process_keeps_a_copy_of_what_another_process_wrote_in_the_same_second(
    redis_server: RedisServer, processes: list[Any]
) -> None:
    """A process keeps a copy of the entry that another process has just written. Otherwise the
    entry would be missing if the other process ends and Redis loses its data."""
    one, other = processes
    session = one.start("a")
    other.now += 0.5
    other.record_known(session)
    one.store._connection.client.connection_pool.disconnect()  # this process ends
    redis_server.client.flushall()
    eventually(lambda: other.listed() == ["a"], 5)


def puts(machine: Machine) -> list[Key]:
    """Return a list that gets the key of each string that is stored from now on."""
    written: list[Key] = []
    put = machine.store.put

    def counted(key: Key, *args: Any, **options: Any) -> None:
        written.append(key)
        put(key, *args, **options)

    machine.store.put = counted  # type: ignore[method-assign]
    return written


def test_an_entry_that_this_process_wrote_is_not_written_again(machine: Machine) -> None:
    session = machine.start("a")
    written = puts(machine)
    machine.now += 0.5
    machine.record_known(session)
    assert written == []
    machine.now += 60
    machine.record_known(session)  # a request that is not the user's
    assert written == []
    machine.record_known(replace(session, used_at=int(machine.now)))
    assert len(written) == 1


def test_an_entry_gets_the_lifetime_of_the_process_that_records_a_use() -> None:
    """During a restart, processes can have different values of ``session.idle``. The process that
    writes an entry gives it the lifetime from its own value."""
    store = MemoryStore(lambda: 0.0)
    before, after = (
        Machine(store, SessionLimits(idle=600)),
        Machine(store, SessionLimits(idle=3600)),
    )
    session = before.start("a")
    after.now += 0.5
    after.record_known(session)
    ((_, _, seconds),) = store.living()
    assert seconds >= 3599


def test_an_entry_is_written_for_a_secret_that_its_writer_did_not_have(
    redis_server: RedisServer,
) -> None:
    old, new = b"a secret of more than 32 bytes, 1", b"a secret of more than 32 bytes, 2"
    connections = [connect(redis_server.url) for _ in range(3)]
    stores = zip(connections, ([old], [new, old], [new]), strict=True)
    first, both, last = [Machine(RedisStore(each, secrets)) for each, secrets in stores]
    session = first.start("a")
    both.now += 0.5
    both.record_known(session)
    assert last.listed() == ["a"]
    for each in connections:
        each.client.connection_pool.disconnect()


def test_a_background_request_writes_nothing_that_another_request_has_just_written(
    machine: Machine,
) -> None:
    """A background request has read an entry, and then another request writes the entry. The
    background request does not write it again, so that the newer use is not overwritten."""
    session = machine.start("a")
    known = machine.index.find(session)
    machine.now += 1000
    renewed = replace(session, issued_at=int(machine.now))
    machine.index.record(renewed, "Firefox", "192.0.2.1")
    written = puts(machine)
    machine.index.record(renewed, "Firefox", "192.0.2.1", known)
    assert written == []
    assert machine.index.is_due(renewed)  # the user's next request is recorded
