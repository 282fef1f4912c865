"""A sign-in or a sign-out in Pyramid or in Next.js applies to both, on one host or on two."""

from collections.abc import Callable
from typing import Any

import pytest
from webob import Response as Answer
from webtest import TestApp

from authapp.session.cookies import SessionCookie
from authapp.session.encryption import Sealer
from authapp.session.session import Session
from nextjs.shared_cookie import (
    EXPIRED,
    FORMATS,
    NEW,
    WEEK,
    Both,
    claims_of_another_callback,
    later,
)
from servers import BLACKLIST, REFRESH

TWO_HOSTS = {
    "secure": True,
    "name": "__Secure-example.session",
    "session__domain": "example.com",
    "hosts": ("www.example.com", "app.example.com"),
}


@pytest.mark.parametrize(
    "options",
    [{}, {"secure": True}, {"secure": True, "name": "__Host-authapp.session"}, TWO_HOSTS],
    ids=["http", "https", "authapp's own name", "two hosts"],
)
def test_sign_in_and_sign_out_on_one_side_apply_to_both(
    both_with: Callable[..., Both], options: Any
) -> None:
    both = both_with(**options)
    both.next_sign_in("bob")
    assert list(both.cookies()) == [both.name]
    assert "bob@example.com" in both.account(status=200)
    assert both.session()["user"]["roles"] == ["editor"]
    both.pyramid.sign_out()
    assert both.next_session() in ({}, None)

    both.pyramid.sign_in("alice")
    seen = both.next_session()
    assert seen["user"]["email"] == "alice@example.com"
    assert seen["user"]["roles"] == ["admin"]
    assert "error" not in seen
    assert "alice@example.com" in both.account(status=200)
    both.next_sign_out()
    assert both.cookies() == {}
    assert both.session()["user"] is None
    assert both.backend.calls[REFRESH] == 0


def test_a_session_in_chunks_has_the_domain_whichever_side_writes_it(
    both_with: Callable[..., Both],
) -> None:
    both = both_with(**TWO_HOSTS)

    def held() -> list[tuple[str, str]]:
        """Return the name and the domain of each session cookie. A name can occur with two
        domains."""
        jar = both.pyramid.cookiejar
        return sorted((each.name, each.domain) for each in jar if each.name.startswith(both.name))

    def begin(extra: int) -> None:
        both.next_sign_in()
        sealer = Sealer([NEW.encode()], FORMATS[both.side.version], both.name)
        session = sealer.open(both.cookies()[both.name]).to_claims()
        token = sealer.seal(Session.from_claims({**session, "more": "x" * extra}))
        cookie = SessionCookie(both.name, True, "example.com")
        answer = Answer("")
        for each in cookie.write(token, WEEK, [both.name]):
            answer.headers.add("Set-Cookie", each)
        jar, environ = both.pyramid.cookiejar, both.pyramid.extra_environ
        TestApp(answer, cookiejar=jar, extra_environ=environ).get("/")

    whole = [(both.name, ".example.com")]
    chunks = [(f"{both.name}.{number}", ".example.com") for number in (0, 1)]
    for extra, cookies in ((0, whole), (3000, chunks)):
        for sign_out in (both.pyramid.sign_out, both.next_sign_out):
            begin(extra)
            both.next_session()
            assert held() == cookies
            with later(EXPIRED):
                assert both.session()["user"]["id"] == 1
                assert held() == cookies
                sign_out()
                assert held() == []


def test_after_nextjs_sign_out_cookie_copies_work_until_a_renewal(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.next_sign_out()
    assert both.backend.calls[BLACKLIST] == 1
    for seconds in (0, 540):
        with later(seconds):
            assert both.session(held)["user"]["id"] == 1
    with later(660):
        assert both.session(held)["error"] == "RefreshTokenRejected"


def test_a_late_nextjs_response_does_not_undo_a_pyramid_sign_out(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.pyramid.sign_out()
    seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
    assert seen["user"]["id"] == 1
    assert both.cookies(), "Next.js has written the session again"
    assert both.session()["error"] == "SessionRevoked"
    assert both.cookies() == {}


def test_sign_out_everywhere_in_pyramid_ends_nextjs_sessions(both: Both) -> None:
    both.next_sign_in()
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    for seconds in (100, EXPIRED):
        with later(seconds):
            # Next.js writes the session with a new ``iat``, and renews the expired session.
            seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
            assert seen["user"]["id"] == 1
            assert "error" not in seen
            assert both.cookies()
            assert both.session()["error"] == "SessionRevoked"
            assert both.cookies() == {}
    assert both.backend.calls[REFRESH] == 1


def test_sign_out_everywhere_is_limited_without_auth_time(both: Both) -> None:
    """A sign-out everywhere ends a session without ``auth_time`` only until Next.js writes the
    session again. Then the user is signed in again. docs/nextjs.md names this limit."""
    both.seal(claims_of_another_callback(both.backend))
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    assert both.session(held)["error"] == "SessionRevoked"
    with later(100):
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.session()["user"]["id"] == 1
