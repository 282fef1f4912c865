"""No output of a sign-in or a sign-out contains a secret, even if it fails: threat L1."""

import secrets

import pytest
from webob import Response as Answer

from servers import BLACKLIST, LOGIN, Served
from whole import outputs
from whole.outputs import DATA, PAGE, Walk

walk, backend = outputs.walk, outputs.backend  # fixtures


def test_failed_sign_in_leaks_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. A failed sign-in leaks no secret, whatever the user enters and the backend
    returns."""
    wrong = walk.keep("a wrong password", secrets.token_hex(16))
    walk.sign_in(401, password=wrong)
    walk.sign_in(401, password=wrong + "x" * 5000)
    walk.sign_in(403, csrf_token=walk.keep("a forged CSRF token", secrets.token_hex(16)))
    echo = Answer(status=400, json_body={"error": "wrong", "sent": wrong})
    token = Answer(json_body={"access": f"{wrong}\n", "refresh": wrong, "detail": wrong})
    no_jwt = Answer(json_body={"access": f"{wrong}.{wrong}.x", "refresh": wrong})
    for number, (answer, status) in enumerate(
        [
            (echo, 503),
            (token, 503),
            (no_jwt, 503),
            (Answer(wrong, status=500), 503),
            (Answer(status=307, headers={"Location": f"http://127.0.0.1:1/{wrong}"}), 503),
            (Answer(wrong, headers={"Content-Encoding": "gzip"}), 503),
            (Answer(status=429, json_body={"detail": wrong}), 429),
            (Answer(wrong * 10_000), 503),
            (Answer(status=503, headers={"Retry-After": wrong}), 503),
        ]
    ):
        backend.instead[LOGIN] = answer
        # Each attempt has another name, because attempts are counted by name.
        walk.sign_in(status, password=wrong, username=f"alice{number}")


def test_throttled_sign_in_leaks_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. After too many attempts to sign in, the counters in Redis and the page with status
    429 contain no secret."""
    wrong = walk.keep("a wrong password", secrets.token_hex(16))
    for _ in range(10):
        walk.sign_in(401, password=wrong)
    walk.sign_in(429)


@pytest.mark.parametrize("everywhere", ["", "1"])
def test_sign_out_leaks_nothing(walk: Walk, backend: Served, everywhere: str) -> None:
    """Threat L1. A sign-out leaks no secret, even if the backend returns 500 to it. Later requests
    with a copy of the old cookie leak no secret either."""
    backend.instead[BLACKLIST] = Answer(status=500)
    walk.sign_in()
    copy = walk.browser.cookie_header()
    walk.post("/logout", {"csrf_token": "wrong", "everywhere": everywhere}, status=403)
    walk.post("/logout", {"csrf_token": walk.csrf(), "everywhere": everywhere}, status=303)
    for headers in (PAGE, DATA):
        walk.get("/account", headers=copy | headers, status=None)
        walk.get("/session", headers=copy | headers)
