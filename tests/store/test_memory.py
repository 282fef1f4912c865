"""The shared memory of one process."""

from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, Lease


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


A, B = Key("p", "a"), Key("p", "b")


def test_a_text_is_kept_for_its_time() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    memory.put(A, "1", 10)
    memory.put(Key("q", "a"), "2", 5)
    assert memory.get(A, B, Key("q", "a")) == ["1", None, "2"]
    clock.now = 9.9
    assert memory.get(A) == ["1"]
    clock.now = 10
    assert memory.get(A) == [None]


def test_o6_what_has_ended_is_dropped() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    for number in range(1000):
        memory.put(Key("p", str(number)), "x", 1)
        clock.now += 0.1
    assert len(memory) <= 11


def test_a_text_that_is_put_again_lives_on() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    memory.put(A, "1", 1)
    memory.put(A, "2", 10)
    clock.now = 2
    memory.put(B, "x", 1)
    assert memory.get(A) == ["2"]
    clock.now = 20
    memory.put(B, "x", 1)
    assert len(memory) == 1


def test_for_no_time_at_all() -> None:
    memory = MemoryStore(Clock())
    memory.put(A, "1", 0)
    assert memory.get(A) == [None]
    assert len(memory) == 0


def test_secrets_are_in_no_repr() -> None:
    assert repr(Key("purpose", "secret")) == "Key('purpose')"


def test_a_process_alone_is_the_only_one() -> None:
    memory = MemoryStore()
    with memory.lease(A) as lease:
        assert lease is Lease.MINE
    assert memory.healthy()
