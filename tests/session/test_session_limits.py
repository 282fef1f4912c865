"""The limits of a session and the time of its last use, as pure functions."""

from dataclasses import replace

from authapp.session.session import Session, Validity
from authapp.session.session_limits import SessionLimits
from session.test_session import NOW, make


def test_no_limits_change_nothing() -> None:
    limits, session = SessionLimits(), make()
    assert limits.limit(session.validity, 0) is session.validity
    assert limits.idle_until(session) is None
    assert not limits.is_idle(session, NOW + 10**9)
    assert not limits.must_record(session, NOW + 10**9)


def test_the_absolute_limit_counts_from_the_sign_in() -> None:
    limits = SessionLimits(absolute=1000)
    assert limits.limit(Validity(NOW + 900, NOW + 5000), NOW) == Validity(NOW + 900, NOW + 1000)
    short = Validity(NOW + 900, NOW + 999)
    assert limits.limit(short, NOW) is short


def test_a_renewal_is_not_a_use_and_another_application_is() -> None:
    session = replace(make(), used_at=NOW + 5)
    read = Session.from_claims(session.to_claims())
    assert read.last_used == NOW + 5
    renewed = read.renewed(read.identity, read.tokens, read.validity, NOW + 500)
    assert Session.from_claims(renewed.to_claims()).last_used == NOW + 5
    # Next.js keeps unknown members and writes a new iat.
    assert Session.from_claims(renewed.to_claims() | {"iat": NOW + 700}).last_used == NOW + 700
    assert Session.from_claims(renewed.to_claims() | {"iat": NOW}).last_used == NOW + 5


def test_a_session_without_a_recorded_use_was_used_when_it_was_written() -> None:
    session = make()
    assert session.last_used == NOW
    assert session.renewed(
        session.identity, session.tokens, session.validity, NOW + 9
    ).last_used == (NOW)
    for odd in (None, [], {"at": "x"}, {"at": -1}, {"at": True}, {"at": 1e300}, {"iat": NOW}):
        claims = session.to_claims()
        claims["data"]["used"] = odd
        assert Session.from_claims(claims).last_used == NOW
    for odd in (None, "yes", 1):
        claims["data"]["remember"] = odd
        assert Session.from_claims(claims).remember is None


def test_a_session_that_was_never_asked_is_remembered() -> None:
    assert SessionLimits(remember="ask").cookie_lifetime(make(), NOW) == 604_800
    assert (
        SessionLimits(remember="yes").cookie_lifetime(replace(make(), remember=False), NOW)
        == 604_800
    )
    assert SessionLimits(remember="no").cookie_lifetime(replace(make(), remember=True), NOW) is None
    assert SessionLimits().cookie_lifetime(make(), NOW + 10**9) == 0
