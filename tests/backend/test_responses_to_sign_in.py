"""What each response of the backend to a sign-in means for the user and in the log: contract
section 7."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from webob import Response

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.protocol import BackendUnavailable
from backend import scripted_backend
from backend.scripted_backend import GOOD, Backend
from site_under_test import Site, description

# The fixtures of these tests.
backend, site = scripted_backend.backend, scripted_backend.site

SHAPES = [
    ({"no": "wrong"}, 401, "InvalidCredentials"),
    ({"no": "locked", "reason": "too many tries"}, 403, "AccountLocked"),
    ({"no": "incomplete"}, 403, "AccountIncomplete"),
    (Response(status=400, json_body={"no": "wrong"}), 401, "InvalidCredentials"),
    (Response(status=429, json_body={"no": "slower"}), 429, "TooManyAttempts"),
    (Response(status=401, text="Unauthorized"), 503, "UnexpectedAnswer"),
    (Response(status=401, json_body={"message": "no"}), 503, "UnexpectedAnswer"),
    (Response(status=422, json_body={"message": "no"}), 503, "UnexpectedAnswer"),
    (Response(status=404, json_body={"message": "User not found"}), 503, "UnexpectedAnswer"),
    (Response(status=400, json_body={"data": None, "error": {"a": []}}), 503, "UnexpectedAnswer"),
    ({"code": 401, "msg": "bad"}, 503, "UnexpectedAnswer"),
    ({"error": ["bad"]}, 503, "UnexpectedAnswer"),
    ([], 503, "UnexpectedAnswer"),
    ("text", 503, "UnexpectedAnswer"),
    (Response(text="<h1>Gateway</h1>"), 503, "UnexpectedAnswer"),
    (Response(status=302, location="https://evil.example"), 503, "UnexpectedAnswer"),
    ({**GOOD, "access": None}, 503, "UnexpectedAnswer"),
    ({**GOOD, "access": "a\nb"}, 503, "UnexpectedAnswer"),
    ({**GOOD, "refresh": 5}, 503, "UnexpectedAnswer"),
    ({**GOOD, "refresh": ""}, 503, "UnexpectedAnswer"),
    ({"access": "opaque"}, 503, "UnexpectedAnswer"),
    (Response(status=500), 503, "BackendUnavailable"),
    (Response(status=503), 503, "BackendUnavailable"),
    ({**GOOD, "user": [7]}, 503, "BackendUnavailable"),
    ({**GOOD, "user": {"name": "nobody"}}, 503, "UnexpectedAnswer"),
    ({**GOOD, "expires_in": "soon"}, 503, "BackendUnavailable"),
]


@pytest.mark.parametrize(("answer", "status", "code"), SHAPES, ids=range(len(SHAPES)))
def test_sign_in_refusals_have_the_right_status_and_code(
    site: Callable[..., Site],
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    answer: Any,
    status: int,
    code: str,
) -> None:
    """For each kind of refusal at sign-in, check the page and the log line. Each attempt counts for
    the rate limit."""
    caplog.set_level(logging.INFO)
    backend.answers["/login"] = answer
    page = site(login__rate="1/minute")
    page.sign_in("alice", "secret-word", status=status)
    assert code in caplog.text
    assert "secret-word" not in caplog.text
    backend.answers["/login"] = GOOD
    page.sign_in("alice", status=429)  # the rate limit has counted the first attempt


@pytest.mark.parametrize(
    ("said", "told"), [("7", "7"), ("3600", "3600"), ("999999", "86400"), ("soon", "1")]
)
def test_a_throttled_user_is_told_the_backends_time(
    site: Callable[..., Site], backend: Backend, said: str, told: str
) -> None:
    backend.answers["/login"] = Response(
        status=429, json_body={"no": "slower"}, headers={"Retry-After": said}
    )
    assert site().sign_in("alice", status=429).headers["Retry-After"] == told


def test_an_unexpected_response_is_logged_safely(
    site: Callable[..., Site], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    said = {
        "error": "bad\r\nforged \x1b[31m",
        "code": 17,
        "detail": "x" * 500,
        "msg": "my-password",
    }
    backend.answers["/login"] = Response(status=418, json_body=said)
    site().sign_in("alice", "my-password", status=503)
    (line,) = [r.getMessage() for r in caplog.records if "UnexpectedAnswer" in r.getMessage()]
    assert "status 418, application/json error='bad forged [31m' code='17'" in line
    assert "from POST /login at 127.0.0.1:" in line
    assert "see authapp.backend.login.refused [request " in line
    assert "my-password" not in line
    assert "x" * 101 not in line


def test_the_backends_reason_is_in_the_audit_log(
    site: Callable[..., Site], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "authapp.audit")
    backend.answers["/login"] = {"no": "locked", "reason": "locked until noon " + "t" * 40}
    site().sign_in("alice", status=403)
    assert '"reason": "status 200 locked until noon ***"' in caplog.text


def test_a_lifetime_can_be_a_string_of_digits_or_a_fraction(
    site: Callable[..., Site], backend: Backend
) -> None:
    backend.answers["/login"] = {**GOOD, "expires_in": "60", "refresh_expires_in": 900.5}
    browser = site()
    browser.sign_in("alice", status=303)
    session = browser.opened()
    assert session.identity.id == 7
    assert session.validity.refresh_until - session.validity.valid_until == 840


def test_a_bearer_prefix_in_the_access_token_is_removed(
    site: Callable[..., Site], backend: Backend
) -> None:
    backend.answers["/login"] = {**GOOD, "access": "Bearer opaque-1"}
    browser = site()
    browser.sign_in("alice")
    assert browser.opened().tokens.access == "opaque-1"


def test_userinfo_names_the_user(site: Callable[..., Site], backend: Backend) -> None:
    backend.answers["/login"] = {"access": "opaque-1", "refresh": "r-1", "expires_in": 60}
    backend.answers["/me"] = lambda request: {
        "id": 7,
        "email": request.headers["Authorization"],
    }
    browser = site(backend__userinfo="\nGET /me\nAuthorization: Bearer {access}")
    browser.sign_in("alice")
    assert browser.opened().identity.email == "Bearer opaque-1"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Response(status=404), "UnexpectedAnswer: sign-in: userinfo: status 404, text/html"),
        (Response(status=500), "BackendUnavailable: sign-in: userinfo: status 500, not a JSON"),
    ],
    ids=str,
)
def test_a_userinfo_failure_at_sign_in_returns_503(
    site: Callable[..., Site],
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    answer: Response,
    line: str,
) -> None:
    backend.answers["/me"] = answer
    site(backend__userinfo="\nGET /me").sign_in("alice", status=503)
    (told,) = [each for each in caplog.messages if ": sign-in: " in each]
    assert told.startswith(line)
    assert ("see authapp.backend.userinfo" in told) is (answer.status_int == 404)


def test_a_backend_without_a_second_step_takes_no_code() -> None:
    """An operator has removed the setting of the second step. If a user then types a code, the
    sign-in is unavailable."""
    backend = HTTPBackend(BoundedSession(1), "http://x.invalid", description())
    with pytest.raises(BackendUnavailable, match=r"authapp\.backend\.challenge is none"):
        backend.challenge("[]", "123456")


@pytest.mark.parametrize("status", [302, 401, 403, 429, 500, 503])
def test_tokens_in_a_response_that_is_not_2xx_sign_nobody_in(
    site: Callable[..., Site], backend: Backend, status: int
) -> None:
    backend.answers["/login"] = Response(status=status, json_body=GOOD)
    browser = site()
    browser.sign_in("alice", status=503)
    assert browser.get("/session").json["user"] is None


@pytest.mark.parametrize(
    "echo",
    ["my-Pass<word>&1", "MY-PASS<WORD>&1", "my-Pass&lt;word&gt;&amp;1", "my-Pass%3Cword%3E%261"],
)
def test_l1_no_part_of_a_password_is_logged(
    site: Callable[..., Site], backend: Backend, caplog: pytest.LogCaptureFixture, echo: str
) -> None:
    caplog.set_level(logging.INFO)
    said = {"detail": f"no {echo}", "error": [echo], "message": "x" * 300 + echo[:9]}
    backend.answers["/login"] = Response(status=418, json_body=said)
    site().sign_in("alice", "my-Pass<word>&1", status=503)
    assert "word" not in caplog.text.lower().replace("password", "")
    assert "my-pass" not in caplog.text.lower()


def test_l2_no_line_of_the_log_can_be_forged(
    site: Callable[..., Site], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.answers["/login"] = {**GOOD, "user": {"a\nforged \x1b[31m": 1}}
    site().sign_in("alice", status=503)
    assert "a forged [31m" in caplog.text
    assert "\x1b" not in caplog.text
