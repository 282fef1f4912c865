"""Which lines of its settings a request to the backend has, and how the client authenticates."""

import time
from collections.abc import Callable
from typing import Any

import time_machine
from webob import Request

from backend import scripted_backend
from backend.scripted_backend import GOOD, LINES, Backend
from site_under_test import Site

# The fixtures of these tests.
backend, site = scripted_backend.backend, scripted_backend.site


def sent_requests(backend: Backend, browser: Site) -> list[Request]:
    """Sign in, and let the session be renewed. Return the login and the refresh request."""
    sent: list[Request] = []
    for path in ("/login", "/refresh"):
        backend.answers[path] = lambda request: sent.append(request.copy()) or GOOD
    browser.sign_in("alice", status=303)
    with time_machine.travel(time.time() + 61):
        browser.get("/account", status=200)
    return sent


def test_a_line_is_left_out_if_its_placeholder_never_has_a_value_there(
    site: Callable[..., Site], backend: Backend
) -> None:
    browser = site(
        backend__login="\nPOST /login\nX-Old: {access}\nname = {username}\ncode = {code}",
        backend__refresh="\nPOST /refresh\nX-From: {address}\nrefresh = {refresh}\nu = {username}",
    )
    login, refresh = sent_requests(backend, browser)
    assert login.json_body == {"name": "alice"}
    assert refresh.json_body == {"refresh": "r-1"}
    assert {"X-Old", "X-From"}.isdisjoint([*login.headers, *refresh.headers])


def test_a_secret_and_a_scope_may_stand_in_the_lines_of_any_request(
    site: Callable[..., Site], backend: Backend
) -> None:
    browser = site(
        backend__client_secret="s3cret",
        backend__scope="openid",
        backend__login="\nPOST /login\nX-Api-Key: {client_secret}\nname = {username}",
        backend__refresh="\nPOST /refresh\nrefresh = {refresh}\nscope = {scope}",
    )
    login, refresh = sent_requests(backend, browser)
    assert login.headers["X-Api-Key"] == "s3cret"
    assert "Authorization" not in login.headers
    assert refresh.json_body == {"refresh": "r-1", "scope": "openid"}


def test_a_value_that_cannot_be_sent_fails_that_request_only(
    site: Callable[..., Site], backend: Backend
) -> None:
    browser = site(
        backend__login="\nPOST /login\nX-Name: {username}\nword = {password}",
        backend__refresh="\nPOST /refresh/{refresh}",
        backend__logout="\nDELETE /session/{refresh}",
    )
    browser.sign_in("a\tb", status=401)
    backend.answers["/login"] = {**GOOD, "refresh": ".."}
    browser.sign_in("alice")
    with time_machine.travel(time.time() + 61):
        browser.get("/account", status=503)
        assert "SignedOut" in browser.sign_out().location


def test_the_client_authenticates_with_http_basic_by_default(
    site: Callable[..., Site], backend: Backend
) -> None:
    seen: list[Request] = []

    def login(request: Request) -> dict[str, Any]:
        seen.append(request)
        return GOOD

    backend.answers["/login"] = login
    client = {"backend__client_id": "web app", "backend__client_secret": "s:1"}
    site(**client).sign_in("alice")
    assert seen[-1].authorization[0] == "Basic"
    own = LINES["backend__login"] + "\nAuthorization: Api {client_secret}"
    site(**client, backend__login=own).sign_in("alice")
    assert seen[-1].headers["Authorization"] == "Api s:1"
