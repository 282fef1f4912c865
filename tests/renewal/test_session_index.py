"""The index of a user's sessions: what it lists, and what it ends."""

from dataclasses import replace

import pytest

from authapp.renewal.session_index import MAX_AGENT, MOST
from authapp.session.session_limits import SessionLimits
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key
from renewal.index_machine import Machine
from session.test_session import NOW, make


def test_the_sessions_of_a_user_are_listed_the_last_used_first(machine: Machine) -> None:
    machine.start("a")
    machine.now += 10
    machine.start("b", agent="Chrome")
    machine.start("other", user=2)
    first, second = machine.index.of(1)
    assert (first.session.sid, first.agent, first.address) == ("b", "Chrome", "192.0.2.1")
    assert (first.signed_in, first.last_seen) == (NOW + 10, NOW + 10)
    assert second.session.sid == "a"
    assert machine.listed("1") == machine.listed(1)
    assert machine.listed("nobody") == []


def test_an_entry_contains_no_token_and_its_repr_no_session_id(machine: Machine) -> None:
    session = machine.start("the-session-id")
    texts = str([text for _, text, _ in machine.store.living()])  # type: ignore[attr-defined]
    assert session.tokens.access not in texts.split('"')
    assert session.tokens.refresh not in texts.split('"')
    assert "the-session-id" not in repr(machine.index.of(1))
    assert "the-session-id" not in machine.index.of(1)[0].id


def test_a_use_moves_the_last_seen_time_and_the_address(machine: Machine) -> None:
    session = machine.start("a")
    machine.now += 100
    machine.use(session, "198.51.100.7")
    (entry,) = machine.index.of(1)
    assert (entry.last_seen, entry.address) == (NOW + 100, "198.51.100.7")
    assert entry.signed_in == NOW
    machine.now += 1
    machine.index.record(session, "curl", "203.0.113.9")  # a late request with an older cookie
    (entry,) = machine.index.of(1)
    assert (entry.last_seen, entry.agent, entry.address) == (NOW + 100, "Firefox", "198.51.100.7")
    assert machine.index.last_used(session) == NOW + 100


def test_a_use_that_a_machine_with_a_wrong_clock_recorded_does_not_count(machine: Machine) -> None:
    """If a machine whose clock is ahead has recorded a use of the session, this use does not count.
    Otherwise a session that nobody uses would last longer."""
    session = machine.start("a")
    machine.now += 1000
    machine.use(session)
    machine.now -= 900
    assert machine.index.last_used(session) == NOW
    machine.use(session)
    assert machine.index.of(1)[0].last_seen == machine.index.last_used(session) == NOW + 100


def test_an_older_copy_does_not_move_the_sign_in_back(machine: Machine) -> None:
    session = machine.start("a")
    machine.now += 100
    machine.index.record(replace(session, authenticated_at=machine.now), "Firefox", "")
    machine.use(session)
    entry = machine.index.find(session)
    assert entry is not None
    assert entry.signed_in == NOW + 100
    assert machine.index.of(1)[0].signed_in == NOW + 100


def test_a_request_updates_the_entry_at_most_once_a_minute(machine: Machine) -> None:
    session = make()
    assert machine.index.is_due(session)
    session = machine.start("a")
    assert not machine.index.is_due(session)
    machine.now += 59
    assert not machine.index.is_due(session)
    machine.now += 1
    assert machine.index.is_due(session)
    machine.now = NOW - 1000.0  # the clock was set back
    assert machine.index.is_due(session)


def test_ended_sessions_are_not_listed() -> None:
    machine = Machine(MemoryStore(), SessionLimits(idle=600))
    idle = machine.start("idle")
    machine.start("revoked")
    machine.now += 300
    machine.start("lives")
    assert machine.index.end(1, "no such id") is None
    ended = machine.index.end(1, replace(make(), sid="revoked").digest)
    assert ended is not None
    assert ended.session.sid == "revoked"
    assert machine.listed() == ["lives", "idle"]
    machine.now += 301
    assert machine.listed() == ["lives"]
    assert machine.index.last_used(idle) == NOW


def test_nobody_ends_the_session_of_another_user(machine: Machine) -> None:
    theirs = machine.start("theirs", user=2)
    assert machine.index.end(1, theirs.digest) is None
    assert not machine.revocation.revoked(theirs)


def test_an_entry_expires_with_its_session() -> None:
    seconds = [0.0]
    store = MemoryStore(lambda: seconds[0])
    machine = Machine(store, SessionLimits(idle=600))
    machine.start("a")
    ((_, _, left),) = store.living()
    assert left == 600


def test_at_most_fifty_sessions_are_listed_and_the_oldest_goes(machine: Machine) -> None:
    for number in range(MOST + 5):
        machine.now += 1
        machine.start(f"s{number}")
    assert machine.listed() == [f"s{number}" for number in range(MOST + 4, 4, -1)]


def test_an_ended_session_gives_its_place_to_a_new_one(machine: Machine) -> None:
    sessions = [machine.start(f"s{number}") for number in range(MOST)]
    machine.index.end(1, sessions[30].digest)
    machine.now += 1
    machine.start("new")
    expected = {f"s{number}" for number in range(MOST) if number != 30}
    assert set(machine.listed()) == {"new"} | expected


def test_sessions_whose_ids_begin_at_the_same_place_are_both_listed(machine: Machine) -> None:
    machine.start("ab")
    second = machine.start("ba")
    assert set(machine.listed()) == {"ab", "ba"}
    # Another process finds the entry in the place that the first process has chosen.
    other = Machine(machine.store)
    other.now += 10
    other.use(second)
    assert other.listed() == ["ba", "ab"]


def test_ending_the_others_ends_also_those_that_are_not_listed(machine: Machine) -> None:
    mine, other = machine.start("mine"), machine.start("other")
    lost = replace(other, sid="lost")  # no entry, because Redis was emptied
    ended = machine.index.end_others(mine)
    assert [each.session.sid for each in ended] == ["other"]
    assert not machine.revocation.revoked(mine)
    assert machine.revocation.revoked(other)
    assert machine.revocation.revoked(lost)
    assert machine.listed() == ["mine"]
    began = machine.revocation.next_start(1, machine.now)
    later = replace(other, sid="later", authenticated_at=began)
    assert not machine.revocation.revoked(later)
    # The next session that ends all others also ends this one.
    machine.index.end_others(later)
    assert machine.revocation.revoked(mine)
    assert not machine.revocation.revoked(later)
    machine.revocation.revoke_user(other, machine.now)
    assert machine.revocation.revoked(later)


def test_ending_all_ends_also_those_that_are_not_listed(machine: Machine) -> None:
    session = machine.start("a")
    lost, theirs = replace(session, sid="lost"), machine.start("b", user=2)
    assert [each.session.sid for each in machine.index.end_all("1")] == ["a"]
    assert machine.revocation.revoked(session)
    assert machine.revocation.revoked(lost)
    assert not machine.revocation.revoked(theirs)
    assert machine.index.end_all("nobody") == []


REST = '1, 1, "", "", null, null]'


@pytest.mark.parametrize(
    "text",
    [
        *("", "1 [", "1 [1]", "1 {}", "[]", "1 null"),
        *(f'1 ["s", 1, {used}, {REST}' for used in ("null", '"x"', "1e999", "[]")),
        f'1 ["s", "x", 1, {REST}',
    ],
)
def test_an_entry_that_cannot_be_read_is_a_free_place(machine: Machine, text: str) -> None:
    for place in range(MOST):
        machine.store.put(Key("session of user", f"{place} 1"), text, 60)
    assert machine.listed() == []
    machine.start("a")
    assert machine.listed() == ["a"]


def test_a_long_user_agent_is_shortened(machine: Machine) -> None:
    machine.start("a", agent="x" * 10_000)
    assert len(machine.index.of(1)[0].agent) == MAX_AGENT


def test_a_process_tracks_a_bounded_number_of_sessions(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authapp.renewal.session_index._TRACKED", 3)
    for number in range(10):
        machine.start(f"s{number}")
    assert len(machine.index._updates) <= 3
    assert len(machine.listed()) == 10
