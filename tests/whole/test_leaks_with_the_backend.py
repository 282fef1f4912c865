"""No output of a renewal or a call of the backend contains a secret, even if it fails: L1, B7."""

import secrets
from dataclasses import replace

import pytest
from webob import Response as Answer

from servers import NOT_VALID, REFRESH, Served
from servers.oauth2 import CLIENT_ID, OAuth2
from site_under_test import COOKIE
from whole import outputs
from whole.outputs import DATA, DUE, ENDED, EXPIRED, PAGE, Walk, later

walk, backend = outputs.walk, outputs.backend  # fixtures


@pytest.mark.parametrize("seconds", [DUE, EXPIRED, ENDED])
@pytest.mark.parametrize(
    "answer",
    [
        None,
        Answer(status=401, json_body=NOT_VALID),
        Answer(status=503),
        Answer("<h1>Welcome</h1>"),
        Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
        Answer(json_body={"access": "garbage"}),
        Answer(json_body={"access": "gar.ba.ge"}),
    ],
    ids=["new tokens", "401", "503", "HTML", "redirect", "garbage", "garbage with three parts"],
)
def test_renewal_leaks_nothing(
    walk: Walk, backend: Served, seconds: float, answer: Answer | None
) -> None:
    """Threat L1. No outcome of a renewal leaks a secret, in any phase of the session. Requests that
    get the stored outcome leak no secret either."""
    walk.sign_in()
    old = walk.browser.cookie_header()
    if answer is not None:
        backend.instead[REFRESH] = answer
    with later(seconds):
        for headers in (PAGE, DATA, old | PAGE, old | DATA):
            for path in ("/account", "/session", "/"):
                walk.get(path, headers=headers, status=None)
        fields = {"csrf_token": walk.get("/session").json["csrf_token"]}
        walk.post("/session", fields, status=None)


def test_backend_down_leaks_nothing(walk: Walk) -> None:
    """Threat L1. If the backend refuses connections, the exceptions of the package ``requests``
    refer to the URL and the body of the request. Still no output contains a secret."""
    with Served(walk.issuer()) as backend:
        walk.site(backend.url)
        walk.sign_in()
        csrf = walk.csrf()
    walk.view = lambda request: request.backend.get("/me", headers={"X": "y"}).json()
    walk.get("/view", status=503)
    walk.post("/session", {"csrf_token": csrf}, status=503)
    with later(EXPIRED):
        walk.get("/account", status=503)
    walk.get("/health?deep=1", status=503)
    walk.post("/logout", {"csrf_token": csrf}, status=303)
    walk.sign_in(503)


def test_backend_calls_of_a_view_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If a call of the backend by a view fails, the log contains no secret."""
    walk.sign_in()
    for instead, call, status in [
        (None, lambda request: request.backend.get("/me").json(), 200),
        (None, lambda request: request.backend.get("/nothing").raise_for_status(), 500),
        (None, lambda request: request.backend.get("https://elsewhere.example/"), 500),
        (None, lambda request: request.backend.get("/me", headers={"X": "\n"}), 500),
        (Answer(status=401), lambda request: request.backend.get("/me").raise_for_status(), 500),
        (Answer("no JSON"), lambda request: request.backend.get("/me").json(), 500),
        (Answer("x" * 99, content_length=999), lambda request: request.backend.get("/me"), 500),
    ]:
        walk.view = call
        backend.instead = {} if instead is None else {"/me": instead}
        walk.get("/view", status=status)


def test_access_token_invalid_in_a_header_is_not_leaked(walk: Walk, backend: Served) -> None:
    """Threats L1, B7. Another application that shares the cookie writes an access token that no
    header may carry: one with a line break, for example. No error contains this token."""
    walk.sign_in()
    token = walk.keep("an odd access token", secrets.token_hex(16))
    session = walk.browser.opened()
    walk.view = lambda request: request.backend.get("/me").json()
    for odd in (f"{token}\r\nX: y", f"{token} ", f"{token}\u2028", f"{token}é"):
        odd_session = replace(session, tokens=replace(session.tokens, access=odd))
        sealed = walk.browser.services.sealer.seal(odd_session)
        walk.get("/view", headers={"Cookie": f"{COOKIE}={sealed}"}, status=500)


def test_oauth2_backend_leaks_nothing(walk: Walk) -> None:
    """Threat L1. A backend with opaque refresh tokens and a client secret leaks neither of them."""
    server = OAuth2()
    server.client_secret = walk.keep("the client's secret", secrets.token_hex(16))
    key = walk.keep("the key", secrets.token_hex(32))
    with Served(walk.backend(server)) as served:
        client = {
            "backend__preset": "oauth2",
            "backend__client_id": CLIENT_ID,
            "backend__client_secret": server.client_secret,
        }
        walk.site(served.url, backend__verify=f"secret:{key}", **client)
        walk.sign_in(503, password="alice-password")  # The token is signed with another key.
        walk.site(served.url, **client)
        walk.sign_in(password="alice-password")
        with later(EXPIRED):
            walk.get("/account")
        server.client_secret = "changed"
        with later(2 * EXPIRED):
            walk.get("/account", status=None)
        walk.post("/logout", {"csrf_token": walk.csrf()}, status=303)
        walk.sign_in(503, password="alice-password")
