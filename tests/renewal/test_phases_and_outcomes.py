"""Each phase of a session, and each outcome of its renewal: section 3 of docs/contract.md."""

import time
from typing import Any

import jwt
import pytest
from pyramid.request import Request
from webob import Response as Answer

from eventually import eventually
from renewal.phases import DUE, ENDED, EXPIRED, FRESH, cleared, later, page
from servers import NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site


def test_fresh_session_is_not_renewed(site: Site, backend: Served) -> None:
    site.sign_in()
    with later(FRESH):
        assert "Set-Cookie" not in page(site).headers
    assert backend.calls[REFRESH] == 0


def test_non_ascii_path_renews_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    with later(EXPIRED):
        page(site, "/r%C3%A9sum%C3%A9", status=404)
    assert backend.calls[REFRESH] == 1


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_due_and_expired_sessions_are_renewed(site: Site, backend: Served, seconds: float) -> None:
    site.sign_in()
    before = site.opened()
    with later(seconds):
        answer = page(site, status=200)
        after = site.opened()
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in answer.headers["Vary"]
    assert backend.calls[REFRESH] == 1
    assert after.sid == before.sid
    assert after.tokens.refresh != before.tokens.refresh
    assert after.validity.valid_until > before.validity.valid_until
    assert str(after.validity.valid_until) in answer.text


def test_ended_session_redirects_to_sign_in_with_next(site: Site, backend: Served) -> None:
    site.sign_in()
    held = site.cookie_header()
    with later(ENDED):
        answer = site.get("/account?tab=1", headers=held, status=303)
        assert answer.location.endswith(
            "/login?next=%2Faccount%3Ftab%3D1&reason=RefreshTokenExpired"
        )
        assert cleared(answer)
        assert "Your session has ended" in answer.follow().text
        problem = site.get("/account", headers={**held, "Accept": "application/json"}, status=401)
    assert problem.content_type == "application/problem+json"
    assert problem.json["code"] == "RefreshTokenExpired"
    assert problem.json["login_url"].startswith("/login?next=%2Faccount")
    assert cleared(problem)
    assert backend.calls[REFRESH] == 0


def test_ended_session_on_the_sign_in_page_shows_the_reason(site: Site) -> None:
    site.sign_in()
    held = site.cookie_header()
    with later(ENDED):
        assert "Your session has ended" in site.get("/login", headers=held, status=200).text
        answer = site.get("/session", headers=held)
    assert answer.json["error"] == "RefreshTokenExpired"
    assert cleared(answer)


def test_ended_session_with_an_undecodable_path_returns_400(site: Site) -> None:
    site.sign_in()
    held = {"HTTP_COOKIE": site.cookie_header()["Cookie"]}
    with later(ENDED):
        environ = Request.blank("/", environ=held | {"PATH_INFO": "/\xff"}).environ
        answer = Request(environ).get_response(site.app)
    assert answer.status_int == 400
    assert "BadRequest" in answer.text


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_rejected_renewal_ends_the_session(site: Site, backend: Served, seconds: float) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(seconds):
        answer = page(site, status=303)
        assert "reason=RefreshTokenRejected" in answer.location
        assert COOKIE not in site.cookies
        assert "has ended your session" in answer.follow().text


def test_another_users_token_is_a_rejection(site: Site, backend: Served) -> None:
    site.sign_in("alice")
    other = Site(wsgi=site.app)
    other.sign_in("bob")
    tokens = other.opened().tokens
    backend.instead[REFRESH] = Answer(json_body={"access": tokens.access, "refresh": "x"})
    with later(DUE):
        assert "reason=RefreshTokenRejected" in page(site, status=303).location


def test_b8_bearer_challenge_of_the_backend_is_a_rejection(site: Site, backend: Served) -> None:
    """Threat B8. A 401 response with ``Bearer error="invalid_token"`` is a rejection, even if its
    description contains the words "digest" and "basic"."""
    said = 'Bearer error="invalid_token", error_description="bad token, digest or basic mismatch"'
    site.sign_in()
    backend.instead[REFRESH] = Answer(
        status=401, json_body=NOT_VALID, headers={"WWW-Authenticate": said}
    )
    with later(EXPIRED):
        assert "RefreshTokenRejected" in page(site, status=303).location


TOKEN = jwt.encode({"sub": "1", "exp": 4_000_000_000}, "k" * 32)
"""A valid access token, for responses in which something else is wrong."""


UNAVAILABLE = {
    "400 that is not about the token": Answer(status=400, json_body={"detail": "JSON parse error"}),
    "401 of a gateway": Answer(status=401, json_body={"message": "No API key found in request"}),
    "403 of a gateway": Answer(status=403, json_body={"message": "Forbidden"}),
    "error member is an object": Answer(
        status=400, json_body={"data": None, "error": {"status": 400, "name": "ValidationError"}}
    ),
    "server error": Answer(status=500),
    "503": Answer(status=503, headers={"Retry-After": "3"}),
    "429": Answer(status=429, headers={"Retry-After": "3"}, json_body={}),
    "not JSON": Answer(status=200, text="<h1>Welcome</h1>"),
    "401 with HTML": Answer(status=401, text="<h1>Gateway</h1>"),
    "401 with a Basic challenge": Answer(
        status=401, json_body={}, headers={"WWW-Authenticate": "Basic realm=x"}
    ),
    "401 with a Digest challenge": Answer(
        status=401, json_body={}, headers={"WWW-Authenticate": 'Digest realm="x"'}
    ),
    "401 of a view that expects an access token": Answer(
        status=401,
        json_body={"detail": "Authentication credentials were not provided."},
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "401 of a gateway in the words of the backend": Answer(
        status=401,
        json_body={"detail": "Unauthorized"},
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "401 that is about an access token": Answer(
        status=401,
        json_body={
            "detail": "Given token not valid for any token type",
            "code": "token_not_valid",
            "messages": [{"token_class": "AccessToken", "message": "Token is expired"}],
        },
        headers={"WWW-Authenticate": 'Bearer realm="api"'},
    ),
    "no tokens": Answer(status=200, json_body={"detail": "invalid"}),
    "JSON list": Answer(status=200, json_body=[1]),
    "token of another type": Answer(json_body={"access": 1, "refresh": "x"}),
    "token with a line break": Answer(json_body={"access": "a\r\nb", "refresh": "x"}),
    "token with spaces around it": Answer(json_body={"access": f" {TOKEN} ", "refresh": "x"}),
    "token with a line break at its end": Answer(
        json_body={"access": TOKEN + "\n", "refresh": "x"}
    ),
    "token that is not ASCII": Answer(json_body={"access": TOKEN + "\xe9", "refresh": "x"}),
    "refresh token with a space": Answer(json_body={"access": TOKEN, "refresh": "x y"}),
    "refresh token of another type": Answer(json_body={"access": TOKEN, "refresh": 1}),
    "token of 10 KB": Answer(
        json_body={"access": jwt.encode({"sub": "1", "x": "y" * 7000}, "k" * 32), "refresh": "x"}
    ),
    "redirect": Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
    "compressed": Answer(json_body={}, headers={"Content-Encoding": "gzip"}),
    "response of 300 KB": Answer(json_body={"access": "x" * 300_000}),
    "deeply nested JSON": Answer(text="[" * 100_000, content_type="application/json"),
    "UTF-16": Answer(
        body=f'{{"access": "{TOKEN}", "refresh": "x"}}'.encode("utf-16"),
        content_type="application/json",
    ),
    "not UTF-8": Answer(body=b'{"access": "\xff"}', content_type="application/json"),
}


@pytest.mark.parametrize("kind", UNAVAILABLE)
def test_unavailable_backend_does_not_end_the_session(
    site: Site, backend: Served, kind: str
) -> None:
    site.sign_in()
    held = site.token()
    backend.instead[REFRESH] = UNAVAILABLE[kind]
    with later(DUE):
        page(site, status=200)
        assert site.get("/session").json["user"]["id"] == 1
    with later(EXPIRED):
        answer = page(site, status=503)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "BackendUnavailable" in answer.text
        home = page(site, "/", status=200)
        assert "check your sign-in right now" in home.text
        anonymous = site.get("/session").json
        assert anonymous["user"] is anonymous["validity"] is None
        assert anonymous["error"] == "BackendUnavailable"
        problem = site.get("/account", headers={"Accept": "application/json"}, status=503)
        assert problem.json["code"] == "BackendUnavailable"
    # A refresh token that came with an unusable access token may have replaced the old one.
    rotated = kind.startswith("token ")
    assert (site.token() != held) is rotated
    assert not rotated or site.opened().tokens.refresh == "x"


def test_unreadable_access_token_keeps_the_new_refresh_token(site: Site, backend: Served) -> None:
    """After a renewal, the backend has spent the old refresh token. So authapp must keep the new
    refresh token, even if the new access token is unreadable."""

    def spoil(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={**answer.json_body, "access": "not.a.jwt"})

    site.sign_in()
    before = site.opened()
    copy = site.twin()
    backend.instead[REFRESH] = spoil
    with later(EXPIRED):
        began = time.monotonic()
        page(site, status=503)
        page(site, status=503)
        page(copy, status=503)
        most = 1 + 2 * int(time.monotonic() - began)
        assert 1 <= backend.calls[REFRESH] <= most, "the backend is not called again at once"
        assert site.opened().tokens.refresh != before.tokens.refresh
        assert site.opened().tokens.access == before.tokens.access
        del backend.instead[REFRESH]
        eventually(lambda: page(copy, status="*").status_int == 200, 5)
        page(site, status=200)


def test_removed_roles_take_effect_at_the_next_renewal(site: Site, backend: Served) -> None:
    site.sign_in("alice")
    page(site, "/admin", status=200)
    tokens = site.opened().tokens
    claims = jwt.decode(tokens.access, options={"verify_signature": False})
    claims |= {"roles": [], "exp": int(time.time()) + EXPIRED + 900}
    del claims["iat"], claims["email"], claims["name"]
    access = jwt.encode(claims, "x" * 32)
    backend.instead[REFRESH] = Answer(json_body={"access": access})
    with later(EXPIRED):
        page(site, "/admin", status=403)
        session = site.opened()
    assert session.tokens.refresh == tokens.refresh, (
        "the old refresh token is kept, because the response has no new one"
    )
    assert (session.identity.name, session.identity.email) == ("alice", "alice@example.com")


def keep_refresh_tokens(backend: Served) -> None:
    """Make the backend return a new access token, and no new refresh token, at each renewal."""

    def rotate_the_access_token_only(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={"access": answer.json_body["access"]})

    backend.instead[REFRESH] = rotate_the_access_token_only


def test_unrotated_refresh_token_keeps_its_lifetime(site: Site, backend: Served) -> None:
    site.sign_in()
    ends = site.opened().validity.refresh_until
    keep_refresh_tokens(backend)
    with later(EXPIRED):
        page(site, status=200)
        assert site.opened().validity.refresh_until == ends
    held = site.cookie_header()
    with later(ENDED):
        site.get("/account", headers=held, status=303)


def test_unrotated_refresh_token_leaves_the_cookie_alone_while_the_backend_is_down(
    site: Site, backend: Served
) -> None:
    """The backend keeps the refresh token at a renewal. The store has the successor under this
    token, so each later request finds it. While the backend is down, the renewed session must not
    be written to the cookie again."""
    site.sign_in()
    keep_refresh_tokens(backend)
    with later(EXPIRED):
        assert "Set-Cookie" in page(site, status=200).headers
    backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED + DUE):
        for _ in range(10):
            site.services.sealer.open.cache_clear()  # many other sessions were opened meanwhile
            site.services.cookie_reader.cached.cache_clear()
            assert "Set-Cookie" not in page(site, status=200).headers


def test_session_that_grows_too_large_ends_and_logs_the_largest_claim(
    site: Site, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    site.sign_in()
    claims = {"user_id": 1, "exp": int(time.time()) + EXPIRED + 900, "groups": "g" * 4500}
    backend.instead[REFRESH] = Answer(
        json_body={"access": jwt.encode(claims, "x" * 32), "refresh": "r" * 3500}
    )
    with later(EXPIRED):
        page(site, status=200)
    assert COOKIE not in site.cookies
    assert "SessionTooLarge: renewal" in caplog.text
    assert "its claim 'groups' 4502" in caplog.text
