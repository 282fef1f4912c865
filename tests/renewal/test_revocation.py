"""Sessions that were ended before their time."""

from dataclasses import replace

import pytest

from authapp.renewal.revocation import CLOCKS_DIFFER, Revocation
from authapp.session.session import Session
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key
from session.test_session import NOW, make


@pytest.fixture
def revocation() -> Revocation:
    return Revocation(MemoryStore(), 100)


def began(at: float, sid: str = "another") -> Session:
    return replace(make(), sid=sid, authenticated_at=at)


def test_one_session(revocation: Revocation) -> None:
    assert not revocation.revoked(make())
    revocation.revoke(make())
    assert revocation.revoked(make())
    assert not revocation.revoked(began(NOW))


def test_all_sessions_of_a_user_by_any_clock(revocation: Revocation) -> None:
    """A session may have begun a moment ago on a machine whose clock is ahead."""
    revocation.revoke_user(make(), NOW + 10)
    assert revocation.revoked(began(NOW - 1000))
    assert revocation.revoked(began(NOW + 10))
    assert revocation.revoked(began(NOW + 10 + CLOCKS_DIFFER))
    assert not revocation.revoked(began(NOW + 11 + CLOCKS_DIFFER))


def test_r10_half_a_minute_is_no_time_between_two_clocks(revocation: Revocation) -> None:
    """R10. Signed in on a machine whose clock is ahead, signed out everywhere on another."""
    revocation.revoke_user(make(), NOW)
    assert revocation.revoked(began(NOW + 30))


def test_whoever_signs_in_after_that_is_signed_in(revocation: Revocation) -> None:
    revocation.revoke_user(make(), NOW)
    for now in (NOW - 30, NOW, NOW + 30, NOW + 100):
        start = revocation.next_start(1, now)
        assert start >= now
        assert not revocation.revoked(began(start))
    assert revocation.next_start(2, NOW) == NOW


def test_a_clock_that_goes_back_revokes_no_less(revocation: Revocation) -> None:
    revocation.revoke_user(make(), NOW + 500)
    revocation.revoke_user(make(), NOW)
    assert revocation.revoked(began(NOW + 400))


def test_s12_late_answers_come_for_a_while_only() -> None:
    """After that, whoever has the old cookie has a copy, which can be cleared."""
    seconds = [0.0]
    revocation = Revocation(MemoryStore(lambda: seconds[0]), 3600)
    session = make()
    revocation.replace(session)
    assert revocation.replaced(session)
    seconds[0] = 61.0
    assert not revocation.replaced(session)
    assert revocation.revoked(session)


def test_s12_whoever_sees_the_end_sees_why() -> None:
    """S12. A late answer may look between the two things that are put."""

    class Looking(MemoryStore):
        def put(self, key: Key, text: str, seconds: float) -> None:
            super().put(key, text, seconds)
            assert revocation.replaced(make()) or not revocation.revoked(make())

    revocation = Revocation(Looking(), 3600)
    revocation.replace(make())
    assert revocation.revoked(make())
