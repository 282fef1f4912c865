"""What pages, their script and ``/session`` show of the session and the user: contract section
4."""

import base64
import json
import time
from dataclasses import replace
from typing import Any

import jwt
import time_machine
from pyramid.request import Request
from webob import Response as Answer

from authapp.session.session import TokenPair, Validity
from servers import LOGIN, REFRESH, Served
from site_under_test import COOKIE, Site


def script_options(answer: Any) -> Any:
    """Return the options that a page has for the script ``session.js``."""
    return json.loads(answer.html.find("meta", {"name": "authapp"})["content"])


def test_page_passes_the_session_to_its_script(site: Site) -> None:
    told = script_options(site.get("/"))
    assert (told["url"], told["login"], told["waiting"]) == ("/session", "/login", False)
    assert told["session"]["user"] is told["session"]["signed_in_at"] is None
    assert "csrf_token" not in told["session"], "a public page sets no cookie"
    assert not site.cookies
    assert script_options(site.get("/login"))["waiting"]
    chinese = site.get("/", headers={"Accept-Language": "zh"})
    assert script_options(chinese)["texts"]["signIn"] == "登录"
    site.sign_in()
    told = script_options(site.get("/"))
    assert told["session"] == {**site.get("/session").json, "now": told["session"]["now"]}
    assert told["session"]["signed_in_at"] == site.opened().authenticated_at


def test_unavailable_page_tells_its_script_to_wait(site: Site, backend: Served) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=500)
    with time_machine.travel(time.time() + 901):
        answer = site.get("/account", status=503)
        told = script_options(answer)
    assert told["waiting"]
    assert told["session"]["error"] == "BackendUnavailable"
    assert told["session"]["signed_in_at"] is None


def test_claims_are_shown_as_text(backend: Served) -> None:
    """Threat A5. The account page escapes HTML that is in claims."""

    def hostile(request: Request) -> Answer:
        answer = request.get_response(backend.application)
        claims = {
            "user_id": 1,
            "exp": int(time.time()) + 900,
            "<b>": {"ü": ["</script>", None]},
        }
        token = jwt.encode(claims, "k" * 32, "HS256")
        return Answer(json_body={**answer.json_body, "access": token})

    backend.instead[LOGIN] = hostile
    site = Site(backend.url)
    site.sign_in()
    page = site.get("/account")
    assert "<b>" not in page.text
    row = page.html.find("code", string="<b>").find_parent("tr")
    assert row.td.text == '{"ü": ["</script>", null]}'


def test_claim_with_a_lone_surrogate_is_shown_as_a_question_mark(site: Site) -> None:
    """A claim of the access token has half a surrogate pair. authapp would refuse this token, but
    another application may have written it to the shared cookie. The account page still works."""
    site.sign_in()
    half = base64.urlsafe_b64encode(b'{"half": "\\ud800"}').decode().rstrip("=")
    session = site.opened()
    tokens = TokenPair(f"e30.{half}.x", session.tokens.refresh)
    token = site.services.sealer.seal(replace(session, tokens=tokens))
    page = site.get("/account", headers={"Cookie": f"{COOKIE}={token}"})
    assert page.html.find("code", string="half").find_parent("tr").td.text == "?"


def test_account_page_shows_the_time_of_the_sign_in(site: Site) -> None:
    """A sign-out everywhere also revokes sessions that begin in the next minute. So
    ``authenticated_at`` of the next session is in the future, but the account page shows the real
    time of the sign-in."""
    site.sign_in()
    site.sign_out(everywhere=True)
    site.sign_in()
    session = site.opened()
    assert session.authenticated_at > time.time()
    signed_in = site.get("/account").html.find("dt", string="Signed in").find_next("time")
    assert int(signed_in["data-seconds"]) == session.issued_at


def test_session_bar_is_drawn_without_a_script(site: Site) -> None:
    site.sign_in()
    now, session = int(time.time()), site.opened()
    aged = replace(
        session,
        authenticated_at=now - 500,
        issued_at=now,
        validity=Validity(now + 250, now + 500),
    )
    page = site.get("/account", headers={"Cookie": f"{COOKIE}={site.services.sealer.seal(aged)}"})
    renewed, access = page.html.find("svg", id="life").find_all("rect")
    assert renewed["width"] == access["x"] == "50.0%"
    assert access["width"] == "25.0%"


def test_session_json_describes_the_session_without_tokens(site: Site) -> None:
    anonymous = site.get("/session")
    assert anonymous.headers["Cache-Control"] == "no-store"
    assert set(anonymous.json) == {"user", "validity", "error", "now", "signed_in_at", "csrf_token"}
    assert anonymous.json["user"] is anonymous.json["validity"] is anonymous.json["error"] is None
    site.sign_in()
    answer = site.get("/session")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["user"] == {"id": 1, "email": "alice@example.com", "roles": ["admin"]}
    validity = site.opened().validity
    assert answer.json["validity"] == {
        "valid_until": validity.valid_until,
        "refresh_until": validity.refresh_until,
    }
    assert "eyJ" not in answer.text


def test_user_names_and_query_values_are_escaped(site: Site) -> None:
    refused = site.sign_in("<script>alert(1)</script>", "x", status=401)
    assert "<script>" not in refused.text
    assert "<script>" not in site.get("/login?next=/%22><script>&reason=<script>").text
