"""What a request with an access token in ``Authorization`` may do, and what differs from a request
with a session (contract section 11)."""

import time
from typing import Any

import pytest
from pyramid.authorization import Allow
from pyramid.config import Configurator
from pyramid.request import Request
from webob import Response

import authapp
from edge import bearer_site
from edge.bearer_site import ALICE, KEYS, ROBOT, bearer, token, who
from servers import Served
from site_under_test import Site, add_view, application

# A fixture of these tests.
site = bearer_site.site


def cookie_of(site: Site) -> dict[str, str]:
    """Return a ``Cookie`` header with a session of alice. No backend has issued its tokens."""
    tokens = authapp.TokenPair("an access token", "a refresh token")
    identity = authapp.Identity("1", None, "alice", (), (), {})
    now = int(time.time())
    validity = authapp.Validity(now + 9000, now + 90_000)
    session = authapp.Session.start(identity, tokens, validity, now, now)
    return {"Cookie": f"authapp.session={site.services.sealer.seal(session)}"}


@pytest.mark.parametrize(
    ("with_cookie", "with_token", "path", "expected"),
    [
        (False, "none", "/view", None),
        (False, "none", "/page", None),
        (False, "valid", "/view", ROBOT),
        (False, "valid", "/page", None),
        (False, "wrong", "/view", 401),
        (False, "wrong", "/page", None),
        (True, "none", "/view", ALICE),
        (True, "none", "/page", ALICE),
        (True, "valid", "/view", ROBOT),
        (True, "valid", "/page", ALICE),
        (True, "wrong", "/view", 401),
        (True, "wrong", "/page", ALICE),
    ],
)
def test_cookie_token_and_path_give_one_identity(
    site: Site, with_cookie: bool, with_token: str, path: str, expected: Any
) -> None:
    headers = cookie_of(site) if with_cookie else {}
    if with_token != "none":
        headers |= bearer(token() if with_token == "valid" else "wrong")
    answer = site.get(path, headers=headers, status="*")
    if expected == 401:
        assert answer.status_int == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert answer.json["code"] == "SignInRequired"
    else:
        assert answer.json == expected
    assert "Set-Cookie" not in answer.headers
    assert ("Authorization" in answer.headers["Vary"]) == (path == "/view")


@pytest.mark.parametrize("header", ["Basic YWxpY2U6eA==", "", "Digest x"])
def test_other_kinds_of_authorization_are_the_applications(site: Site, header: str) -> None:
    assert site.get("/view", headers={"Authorization": header}).json is None


def test_csrf_is_waived_only_for_a_token_that_authenticated(site: Site) -> None:
    cookie = cookie_of(site)
    assert site.post("/view", headers=bearer(token())).json == ROBOT
    assert site.post("/view", headers=bearer(token()) | cookie).json == ROBOT
    site.post("/view", headers=cookie, status=403)
    site.post("/page", headers=cookie | bearer(token()), status=403)
    site.post("/view", headers=bearer("wrong") | cookie, status=401)
    site.post("/view", headers={"Authorization": "Basic x"} | cookie, status=403)


def test_answers_to_tokens_are_private(site: Site) -> None:
    answer = site.get("/view", headers=bearer(token()))
    assert answer.headers["Cache-Control"] == "private, no-store"


class Root:
    __acl__ = ((Allow, "role:admin", "administer"),)

    def __init__(self, request: Request) -> None:
        pass


def test_permissions_follow_the_token() -> None:
    def guarded(config: Configurator) -> None:
        config.set_root_factory(Root)
        add_view(config, lambda request: request.session_options(), permission="administer")

    site = application("http://127.0.0.1:9", guarded, **KEYS)
    assert '"signed_in_at": null' in site.get("/view", headers=bearer(token())).json
    site.get("/view", headers=bearer(token(roles=[])), status=403)
    site.get("/view", status=401)


def test_own_pages_are_about_sessions() -> None:
    site = Site("http://127.0.0.1:9", **(KEYS | {"api_prefixes": "/account /session"}))
    site.get("/account", headers=bearer(token()), status=401)
    assert site.get("/session", headers=bearer(token())).json["user"] is None


def test_the_proxy_passes_the_token_on() -> None:
    def api(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["HTTP_AUTHORIZATION"].encode()]

    with Served(api) as served:
        site = application("http://127.0.0.1:9", **KEYS, proxy=f"/api = {served.url}")
        value = token()
        assert site.post("/api/x", b"body", headers=bearer(value)).text == f"Bearer {value}"
        site.get("/api/x", headers=bearer("wrong"), status=401)
        served.instead["/x"] = Response(status=401)
        site.get("/api/x", headers=bearer(value), status=401)


def test_a_program_with_a_token_has_no_idle_end_and_no_recent_sign_in() -> None:
    def more(config: Configurator) -> None:
        add_view(config, who, recent_auth=300)
        config.add_route("options", "/api/options")
        config.add_view(
            lambda request: request.session_options(), route_name="options", renderer="json"
        )

    site = application("http://127.0.0.1:9", more, session__idle="600", **KEYS)
    program = bearer(token())
    assert "idle_until" not in site.get("/api/options", headers=program, status=200)
    answer = site.get("/view", headers=program, status=401)
    assert answer.json["code"] == "insufficient_user_authentication"
