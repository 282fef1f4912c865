"""The memory store, which only one process uses."""

from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key, Lease


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


A, B = Key("p", "a"), Key("p", "b")


def test_a_string_is_kept_until_it_expires() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    memory.put(A, "1", 10)
    memory.put(Key("q", "a"), "2", 5)
    assert memory.get(A, B, Key("q", "a")) == ["1", None, "2"]
    clock.now = 9.9
    assert memory.get(A) == ["1"]
    clock.now = 10
    assert memory.get(A) == [None]


def test_o6_expired_entries_are_dropped() -> None:
    clock = Clock()
    memory = MemoryStore(clock)
    for number in range(1000):
        memory.put(Key("p", str(number)), "x", 1)
        clock.now += 0.1
    assert len(memory) <= 11


def test_storing_a_string_again_extends_its_lifetime() -> None:
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


def test_a_string_with_a_lifetime_of_zero_is_not_stored() -> None:
    memory = MemoryStore(Clock())
    memory.put(A, "1", 0)
    assert memory.get(A) == [None]
    assert len(memory) == 0


def test_repr_contains_no_secrets() -> None:
    assert repr(Key("purpose", "secret")) == "Key('purpose')"


def test_a_single_process_gets_the_lease() -> None:
    memory = MemoryStore()
    with memory.lease(A) as lease:
        assert lease is Lease.MINE
    assert memory.healthy()


def test_keys_that_differ_only_in_their_groups_are_equal() -> None:
    assert Key("p", "a", "one user") == Key("p", "a")
    assert Key("p", "a") != Key("p", "b")
    assert Key("p", "a") != ("p", "a")
    memory = MemoryStore()
    memory.put(Key("p", "a", "one user"), "text", 60)
    assert memory.get(Key("p", "a")) == ["text"]
    assert memory.recall(Key("p", "a")) == ["text"]
    assert (memory.settles_in(Key("purpose", "secret")), memory.problems()) == (0, [])
