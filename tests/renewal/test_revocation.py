"""The revocation of one session, or of all sessions of a user."""

from dataclasses import replace

import pytest

from authapp.renewal.revocation import CLOCKS_DIFFER, Revocation
from authapp.session.session import Session, TokenPair
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key
from session.test_session import NOW, make


@pytest.fixture
def revocation() -> Revocation:
    return Revocation(MemoryStore(), 100)


def began(at: float, sid: str = "another") -> Session:
    return replace(make(), sid=sid, authenticated_at=at)


def test_revoking_one_session_keeps_others(revocation: Revocation) -> None:
    assert not revocation.revoked(make())
    revocation.revoke(make())
    assert revocation.revoked(make())
    assert not revocation.revoked(began(NOW))


def test_revoking_a_user_allows_for_clocks_that_differ(revocation: Revocation) -> None:
    """Sign-out everywhere also ends sessions whose start is up to a minute after the sign-out. The
    clock of the machine that recorded the start may be ahead."""
    revocation.revoke_user(make(), NOW + 10)
    assert revocation.revoked(began(NOW - 1000))
    assert revocation.revoked(began(NOW + 10))
    assert revocation.revoked(began(NOW + 10 + CLOCKS_DIFFER))
    assert not revocation.revoked(began(NOW + 11 + CLOCKS_DIFFER))


def test_r10_clocks_that_differ_by_half_a_minute_are_tolerated(revocation: Revocation) -> None:
    """Threat R10. If a user signs in through a server whose clock is half a minute ahead, and
    signs out everywhere through another server, the session ends."""
    revocation.revoke_user(make(), NOW)
    assert revocation.revoked(began(NOW + 30))


def test_session_started_after_the_revocation_is_valid(revocation: Revocation) -> None:
    revocation.revoke_user(make(), NOW)
    for now in (NOW - 30, NOW, NOW + 30, NOW + 100):
        start = revocation.next_start(1, now)
        assert start >= now
        assert not revocation.revoked(began(start))
    assert revocation.next_start(2, NOW) == NOW


def test_revoking_a_user_includes_sessions_older_than_the_one_that_asks(
    revocation: Revocation,
) -> None:
    """Sign-out everywhere also ends all sessions that are older than the session that asks for it,
    even if they began on a machine whose clock is more than a minute ahead."""
    revocation.revoke_user(began(NOW + 500, "ahead"), NOW)
    assert revocation.revoked(began(NOW + 400))
    assert not revocation.revoked(began(NOW + 501))


def test_clock_set_back_keeps_the_later_revocation(revocation: Revocation) -> None:
    revocation.revoke_user(make(), NOW + 500)
    revocation.revoke_user(make(), NOW)
    assert revocation.revoked(began(NOW + 400))


def test_clock_set_back_keeps_the_later_revocation_of_a_group(revocation: Revocation) -> None:
    tokens = TokenPair("access", "refresh", issuer="https://id.example", id_claims={"sub": "1"})
    session = replace(began(NOW + 400), tokens=tokens)
    group = tokens.groups[0]
    revocation.revoke_group(group, NOW + 500)
    revocation.revoke_group(group, NOW)
    assert revocation.revoked(session)


def test_a_later_revocation_of_a_group_ends_a_session_that_began_after_an_earlier_one(
    revocation: Revocation,
) -> None:
    """The provider ends a user's sessions twice, and the user signs in between. The second end also
    ends the new session, even at a machine whose clock is half a minute behind."""
    tokens = TokenPair("access", "refresh", issuer="https://id.example", id_claims={"sub": "1"})
    revocation.revoke_group(tokens.groups[0], NOW)
    start = revocation.next_start(1, NOW + 1, tokens.groups)
    session = replace(began(start), tokens=tokens)
    assert not revocation.revoked(session)
    revocation.revoke_group(tokens.groups[0], NOW - 30)
    assert revocation.revoked(session)


def test_revocation_is_kept_for_as_long_as_a_copy_of_the_cookie_is_valid() -> None:
    """The store keeps a revocation until the refresh token expires, even if the lifetime of this
    token is longer than the default lifetime."""
    seconds = [0.0]
    revocation = Revocation(MemoryStore(lambda: seconds[0]), 100)
    revocation.revoke(make())
    seconds[0] = make().validity.refresh_until - NOW - 1
    assert revocation.revoked(make())


def test_s12_session_is_reported_as_replaced_for_one_minute() -> None:
    """Threat S12. For a minute after a new sign-in, the old session counts as replaced. So if a
    late request has the old cookie, its response does not delete the cookie of the new session.
    After the minute, the old session is only revoked, and the response may delete the cookie."""
    seconds = [0.0]
    revocation = Revocation(MemoryStore(lambda: seconds[0]), 3600)
    session = make()
    revocation.replace(session)
    assert revocation.replaced(session)
    seconds[0] = 61.0
    assert not revocation.replaced(session)
    assert revocation.revoked(session)


def test_s12_replacement_is_stored_before_the_revocation() -> None:
    """Threat S12. authapp stores that a session was replaced before it stores the revocation. So a
    request that finds the revocation always finds the replacement too."""

    class Looking(MemoryStore):
        def put(self, key: Key, text: str, seconds: float, *, notify: bool = False) -> None:
            super().put(key, text, seconds, notify=notify)
            assert revocation.replaced(make()) or not revocation.revoked(make())

    revocation = Revocation(Looking(), 3600)
    revocation.replace(make())
    assert revocation.revoked(make())
