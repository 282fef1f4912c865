"""What each response of the backend to a renewal means for the session and in the log: contract
section 7."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from webob import Response

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.protocol import BackendUnavailable
from authapp.session.session import TokenPair
from backend import scripted_backend
from backend.scripted_backend import GOOD, Backend
from eventually import eventually
from site_under_test import Site, description

# The fixtures of these tests.
backend, site = scripted_backend.backend, scripted_backend.site


def test_a_long_retry_after_stops_renewals_for_five_minutes_only(
    site: Callable[..., Site], backend: Backend
) -> None:
    browser = site()
    browser.sign_in("alice", status=303)
    backend.answers["/refresh"] = Response(status=429, headers={"Retry-After": "3600"})
    with time_machine.travel(time.time() + 61):
        assert browser.get("/account", status=503).headers["Retry-After"] == "300"


@pytest.mark.parametrize(
    ("path", "answer", "line"),
    [
        (
            "/refresh",
            Response(status=418, json_body={"code": "teapot", "detail": "r-1 opaque-1"}),
            "refresh: status 418, application/json code='teapot' detail=***, from POST /refresh at"
            " 127.0.0.1:…; see authapp.backend.refresh.refused",
        ),
        (
            "/me",
            Response(status=403, json_body={"detail": "no opaque-2"}),
            "userinfo: status 403, application/json detail=***, from GET /me at 127.0.0.1:…;"
            " see authapp.backend.userinfo",
        ),
        (
            "/refresh",
            {"access": "opaque-2", "refresh": "r-2"},
            "nothing says when the access token expires; authapp.backend.access_lifetime can",
        ),
    ],
    ids=["refresh", "userinfo", "tokens"],
)
def test_an_unexpected_response_at_a_renewal_is_logged_once(
    site: Callable[..., Site],
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    path: str,
    answer: Any,
    line: str,
) -> None:
    backend.answers["/me"] = {"id": 7}
    browser = site(backend__userinfo="\nGET /me\nAuthorization: Bearer {access}")
    browser.sign_in("alice", status=303)
    backend.answers["/refresh"] = {**GOOD, "access": "opaque-2", "refresh": "r-2"}
    backend.answers[path] = answer
    with time_machine.travel(time.time() + 61):
        for _ in range(3):
            browser.get("/account", status=503)
    (record,) = [each for each in caplog.records if "UnexpectedAnswer" in each.getMessage()]
    assert record.levelname == "WARNING"
    told = re.sub(r"127.0.0.1:\d+", "127.0.0.1:…", record.getMessage().partition(" [request ")[0])
    told = told.replace("'(not shown: it repeats what was sent)'", "***")
    assert told == f"UnexpectedAnswer: renewal: {line}"


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_renewal_without_a_refresh_token_keeps_the_old_one(
    site: Callable[..., Site], backend: Backend, nothing: str | None
) -> None:
    browser = site()
    browser.sign_in("alice")
    backend.answers["/refresh"] = {**GOOD, "access": "opaque-2", "refresh": nothing}
    with time_machine.travel(time.time() + 61):
        browser.get("/account", status=200)
        assert browser.opened().tokens == TokenPair("opaque-2", "r-1")


@pytest.mark.parametrize("answer", [Response(status=401), [], Response(status=503)], ids=str)
def test_a_userinfo_failure_at_renewal_keeps_the_new_tokens(
    site: Callable[..., Site], backend: Backend, answer: Any
) -> None:
    backend.answers["/me"] = {"id": 7}
    browser = site(backend__userinfo="\nGET /me\nAuthorization: Bearer {access}")
    browser.sign_in("alice")
    backend.answers["/refresh"] = {**GOOD, "access": "opaque-2", "refresh": "r-2"}
    backend.answers["/me"] = answer
    now = time.time()
    with time_machine.travel(now + 61):
        browser.get("/account", status=503)
        assert browser.opened().tokens.refresh == "r-2"
    backend.answers["/me"] = {"id": 7}
    backend.answers["/refresh"] = lambda request: (
        {**GOOD, "access": "opaque-3", "refresh": "r-3"}
        if request.json_body == {"refresh": "r-2"}
        else Response(status=401)
    )
    with time_machine.travel(now + 64):
        eventually(lambda: browser.get("/account", status="*").status_int == 200)
        assert browser.opened().tokens.refresh == "r-3"


def test_without_refresh_tokens_a_session_ends_with_its_access_token(
    site: Callable[..., Site], backend: Backend
) -> None:
    backend.answers["/login"] = {**GOOD, "refresh": None}
    browser = site(backend__refresh="none", backend__logout="none")
    browser.sign_in("alice")
    now = time.time()
    with time_machine.travel(now + 55):
        assert browser.get("/session").json["user"]["id"] == 7
    cookie = browser.cookie_header()
    with time_machine.travel(now + 61):
        answer = browser.get("/account", headers=cookie, status=303)
        assert "RefreshTokenExpired" in answer.location
    with time_machine.travel(now + 1):
        browser.sign_in("alice")
        assert "SignedOut" in browser.sign_out().location


def test_a_sliding_token_renews_itself(site: Callable[..., Site], backend: Backend) -> None:
    backend.answers["/login"] = {**GOOD, "refresh": None}
    backend.answers["/refresh"] = lambda request: {
        **GOOD,
        "refresh": None,
        "access": request.json_body["token"] + "+",
    }
    browser = site(backend__refresh="\nPOST /refresh\ntoken = {access}")
    browser.sign_in("alice")
    now = time.time()
    with time_machine.travel(now + 50):
        browser.get("/account", status=200)
        assert browser.opened().tokens.access == "opaque-1+"


def test_a_backend_without_refresh_tokens_rejects_a_renewal() -> None:
    backend = HTTPBackend(
        BoundedSession(1), "http://x.invalid", description(backend__refresh="none")
    )
    assert not backend.refreshes
    with pytest.raises(BackendUnavailable, match=r"authapp\.backend\.refresh is none"):
        backend.refresh(TokenPair("a", "r"))


@pytest.mark.parametrize("access", ["", None, "has a blank", 7, "x" * 9000])
def test_a_rotated_refresh_token_is_kept_if_the_access_token_is_unusable(
    site: Callable[..., Site], backend: Backend, access: Any
) -> None:
    browser = site()
    browser.sign_in("alice")
    backend.answers["/refresh"] = {**GOOD, "access": access, "refresh": "r-2"}
    with time_machine.travel(time.time() + 61):
        browser.get("/account", status=503)
        assert browser.opened().tokens.refresh == "r-2"
