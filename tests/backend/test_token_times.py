"""authapp reads when tokens expire, even if clocks differ: threats B11, J5 and J6."""

import base64
import json
import logging
from typing import Any

import pytest

from authapp.backend.token_reader import TokenReader, Verify
from authapp.session.session import Identity, Session, TokenPair, Validity
from backend.tokens import NAMES, NOW, SECRET, read, reader, refused, token


@pytest.mark.parametrize(
    "exp",
    [
        "1790000300",
        " 1790000300",
        "1_790_000_300",
        "\uff11\uff17\uff19\uff10",
        True,
        [1],
    ],
)
def test_j5_an_expiry_that_is_not_a_number_is_refused(exp: Any) -> None:
    assert "is not a time" in refused(token(exp=exp, iat=...), expires_in=300)


@pytest.mark.parametrize("exp", [10**60, 10**18, NOW + 315_360_001])
def test_j5_an_expiry_more_than_ten_years_ahead_is_refused(exp: int) -> None:
    assert "expires more than ten years from now" in refused(token(exp=exp))
    assert "expires more than ten years from now" in refused(token(exp=...), expires_in=exp - NOW)
    assert "expires more than ten years from now" in refused(
        token(), expires_in=60, refresh_in=exp - NOW
    )


@pytest.mark.parametrize("exp", [..., None, NOW, NOW - 1, -1])
def test_j5_a_missing_or_past_expiry_is_refused(exp: Any) -> None:
    assert "expire" in refused(token(exp=exp))


def test_j5_an_iat_more_than_two_hours_ahead_is_refused() -> None:
    assert refused(token(iat=NOW + 7_201, exp=NOW + 8_000))
    read(token(iat=NOW + 7_199, exp=NOW + 8_000))


@pytest.mark.parametrize("iat", [10**400, "x", True])
def test_j5_an_iat_that_is_not_a_time_is_refused(iat: Any) -> None:
    # The token is built by hand because PyJWT refuses to encode these values.
    head, _, tail = token().split(".")
    claims = json.dumps({"sub": "1", "exp": NOW + 300, "iat": iat}).encode()
    body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    assert refused(f"{head}.{body}.{tail}")


def test_lifetimes_in_the_response_override_the_tokens() -> None:
    _, validity = read(token(exp=...), expires_in=60, refresh_in=90)
    assert validity == Validity(NOW + 60, NOW + 90)
    # Lifetimes in the response override the expiry in the token: contract section 7.
    _, validity = read(token(), refresh=token(exp=NOW + 5000), expires_in=60, refresh_in=90)
    assert validity == Validity(NOW + 60, NOW + 90)


def test_a_numeric_date_can_have_a_fraction() -> None:
    """The times in a token may have a fraction of a second (RFC 7519 section 2)."""
    access = token(iat=NOW + 0.5, exp=NOW + 300.5, nbf=NOW - 0.5)
    _, validity = read(access, Verify(secret=SECRET), refresh=token(exp=NOW + 5000.9))
    assert validity == Validity(NOW + 300, NOW + 5000)


def test_the_access_lifetime_setting_applies_without_an_expiry() -> None:
    pair = TokenPair("opaque", "r", None, None, {"id": 7})
    reads = TokenReader(NAMES, None, None, 1000, access_lifetime=90)
    assert reads.read(pair, NOW)[1] == Validity(NOW + 90, NOW + 1000)


def test_without_a_refresh_token_the_session_ends_with_its_access_token() -> None:
    access = token(exp=NOW + 60)
    assert reader().read(TokenPair(access, access), NOW)[1] == Validity(NOW + 60, NOW + 60)
    pair = TokenPair("opaque", "opaque", 60, None, {"id": 7})
    assert reader().read(pair, NOW)[1] == Validity(NOW + 60, NOW + 60)


@pytest.mark.parametrize("ahead", [600, -600])
def test_a_backend_clock_that_is_off_is_corrected_and_logged(
    ahead: int, caplog: pytest.LogCaptureFixture
) -> None:
    there = NOW + ahead
    access = token(iat=there, nbf=there, exp=there + 300)
    refresh = token(iat=there, exp=there + 5000)
    _, validity = read(access, Verify(secret=SECRET), refresh=refresh)
    assert validity == Validity(NOW + 300, NOW + 5000)
    assert f"ClockSkew: the backend's clock is {ahead} s off" in caplog.text


def test_an_old_token_is_not_extended() -> None:
    """authapp assumes that a token that is a day old was cached or replayed, and keeps its expiry.
    A token that seems to be an hour old may be new, because the backend's clock may be wrong. So
    its lifetime begins now."""
    assert "expired on arrival" in refused(token(iat=NOW - 90_000, exp=NOW - 86_400))
    _, validity = read(token(iat=NOW - 90_000, exp=NOW + 60))
    assert validity.valid_until == NOW + 60
    _, validity = read(token(iat=NOW - 3_600, exp=NOW - 3_300))
    assert validity.valid_until == NOW + 300


def test_the_token_expiry_is_used_within_the_clock_leeway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, validity = read(token(iat=NOW + 29, exp=NOW + 329))
    assert validity.valid_until == NOW + 329
    assert not caplog.text


def test_a_short_lived_token_that_expired_within_the_leeway_is_accepted() -> None:
    """The site's clock is 25 seconds ahead, so a token that is valid for 20 seconds seems to have
    expired. authapp still accepts the token."""
    _, validity = read(token(iat=NOW - 25, exp=NOW - 5))
    assert validity.valid_until == NOW + 20


def test_b11_an_unchanged_refresh_token_keeps_its_expiry() -> None:
    refresh = token(iat=NOW - 5000, exp=NOW + 100)
    before = Session(
        Identity("1"), TokenPair("a", refresh), Validity(NOW, NOW + 100), "sid", NOW - 9, NOW - 9
    )
    _, validity = reader().read(TokenPair(token(), refresh), NOW, before)
    assert validity.refresh_until == NOW + 100
    _, validity = reader().read(TokenPair(token(), refresh, None, 77), NOW, before)
    assert validity.refresh_until == NOW + 77
    _, validity = reader().read(TokenPair(token(), "another"), NOW, before)
    assert validity.refresh_until == NOW + 1000


def test_j6_a_token_before_its_nbf_is_refused() -> None:
    verify = Verify(secret=SECRET)
    assert read(token(nbf=NOW + 30), verify)
    assert "not valid yet" in refused(token(nbf=NOW + 31), verify)
    assert "not a time" in refused(token(nbf="soon"), verify)
