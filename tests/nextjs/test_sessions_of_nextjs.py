"""Pyramid treats a session that a callback of Next.js has made like its own sessions."""

from typing import Any

import pytest
from webob import Response as Answer
from webtest import TestApp

from nextjs.shared_cookie import (
    EXPIRED,
    NEW,
    WEEK,
    Both,
    claims_of_another_callback,
    later,
    tokens_of,
)
from servers import BLACKLIST, NOT_VALID, REFRESH


def test_pyramid_shows_renews_and_revokes_a_nextjs_session(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend, error="RefreshAccessTokenError"))
    assert "Set-Cookie" not in both.account(status=200).headers
    assert both.session()["user"]["id"] == 1
    with later(EXPIRED):
        assert "alice@example.com" in both.account(status=200)
        assert both.backend.calls[REFRESH] == 1
        claims = both.claims()
        assert "error" not in claims
        assert claims["picture"] == "p.png"
        assert claims["data"]["cart"] == [7]
        assert claims["data"]["user"]["theme"] == "dark"
        assert claims["data"]["sid"]
        held = both.header()
        both.pyramid.sign_out()
        assert both.cookies() == {}
        assert both.session(held)["error"] == "SessionRevoked"
        assert both.backend.calls[BLACKLIST] == 1


@pytest.mark.parametrize(
    "own",
    [
        {"user": {"id": 1, "roles": [{"id": 7, "name": "admin"}], "scopes": {"read": True}}},
        {"user": {"id": 1, "roles": "admin editor"}},
        {"user": None, "sid": None, "auth_time": "2026-11-26T00:00:00Z"},
    ],
)
def test_other_data_of_a_callback_does_not_sign_the_user_out(both: Both, own: Any) -> None:
    claims = claims_of_another_callback(
        both.backend, error={"code": "RefreshAccessTokenError"}, name=["A"]
    )
    both.seal({**claims, "data": {**claims["data"], **own}})
    both.account(status=200)
    held = both.header()
    assert both.next_session()["user"]
    with later(EXPIRED):
        assert both.session()["user"] == {"id": 1, "email": "alice@example.com", "roles": ["admin"]}
        assert "error" not in both.next_session()
        both.pyramid.sign_out()
        assert both.session(held)["error"] == "SessionRevoked"


def test_pyramid_rejects_a_session_in_more_than_three_cookies(both: Both) -> None:
    claims = claims_of_another_callback(both.backend)
    both.seal({**claims, "more": "x" * 7000})
    assert both.session()["user"]["id"] == 1
    token = both.side.ask(
        "encode", token={**claims, "more": "x" * 9000}, secret=NEW, maxAge=WEEK, **both.salt()
    )
    chunks = [token[at : at + 3933] for at in range(0, len(token), 3933)]
    assert len(chunks) == 4
    cookie = "; ".join(f"{both.name}.{index}={chunk}" for index, chunk in enumerate(chunks))
    other = TestApp(both.pyramid.app, extra_environ=both.pyramid.extra_environ)
    answer = other.get("/session", headers={"Cookie": cookie})
    assert answer.json["error"] == "SessionInvalid"
    cleared = [each for each in answer.headers.getall("Set-Cookie") if "Max-Age=0" in each]
    assert [each.partition("=")[0] for each in cleared] == [f"{both.name}.{n}" for n in range(4)]


def test_pyramid_signs_out_a_nextjs_session_before_any_renewal(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend))
    held = both.header()
    both.pyramid.sign_out()
    assert both.session(held)["error"] == "SessionRevoked"


def test_a_rejected_renewal_ends_a_nextjs_session(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend))
    both.backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        assert "reason=RefreshTokenRejected" in both.account(status=303).location
    assert both.cookies() == {}


def test_tokens_kept_elsewhere_by_another_callback_are_moved(both: Both) -> None:
    tokens = tokens_of(both.backend)
    both.seal({"sub": "1", "accessToken": tokens["access"], "refreshToken": tokens["refresh"]})
    assert both.next_session()["user"]["id"] == 1
    assert both.session()["user"]["email"] == "alice@example.com"
    assert "accessToken" not in both.claims()
