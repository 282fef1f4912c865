"""What each response of the backend means for users and in the log: contract section 7."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import time_machine
from webob import Request, Response

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.protocol import BackendUnavailable
from authapp.renewal.single_flight import flight_name
from authapp.session.session import TokenPair
from eventually import eventually
from servers import Servers
from site_under_test import Site, description

LINES = {
    "backend__login": "\nPOST /login\nname = {username}\nword = {password}",
    "backend__refresh": "\nPOST /refresh\nrefresh = {refresh}",
    "backend__logout": "\nDELETE /session\nAuthorization: Bearer {access}",
    "backend__answer__access": "body.access",
    "backend__answer__refresh": "body.refresh",
    "backend__answer__expires_in": "body.expires_in",
    "backend__answer__refresh_expires_in": "body.refresh_expires_in",
    "backend__answer__user": "body.user",
    "backend__answer__reason": "body.reason",
    "backend__login__refused": "body.no == 'wrong'",
    "backend__login__locked": "body.no == 'locked'",
    "backend__login__incomplete": "body.no == 'incomplete'",
    "backend__login__throttled": "body.no == 'slower'",
    "backend__refresh__refused": "body.no == 'spent'",
    "login__rate": "100/minute",
}
GOOD = {"access": "opaque-1", "refresh": "r-1", "expires_in": 60, "user": {"id": 7, "name": "Al"}}


class Backend:
    """A backend that sends the response that the test has set for a path."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/login": GOOD}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        answer = self.answers.get(environ["PATH_INFO"], Response(status=404))
        if callable(answer) and not isinstance(answer, Response):
            answer = answer(Request(environ))
        if not isinstance(answer, Response):
            answer = Response(json_body=answer)
        return answer(environ, start_response)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def site(servers: Servers, backend: Backend) -> Iterator[Callable[..., Site]]:
    with servers.serve(backend) as served:
        yield lambda **lines: Site(served.url, **{**LINES, **lines})


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


def test_a_long_retry_after_stops_renewals_for_five_minutes_only(
    site: Callable[..., Site], backend: Backend
) -> None:
    browser = site()
    browser.sign_in("alice", status=303)
    backend.answers["/refresh"] = Response(status=429, headers={"Retry-After": "3600"})
    with time_machine.travel(time.time() + 61):
        assert browser.get("/account", status=503).headers["Retry-After"] == "300"


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


def test_userinfo_names_the_user(site: Callable[..., Site], backend: Backend) -> None:
    backend.answers["/login"] = {"access": "opaque-1", "refresh": "r-1", "expires_in": 60}
    backend.answers["/me"] = lambda request: {
        "id": 7,
        "email": request.headers["Authorization"],
    }
    browser = site(backend__userinfo="\nGET /me\nAuthorization: Bearer {access}")
    browser.sign_in("alice")
    assert browser.opened().identity.email == "Bearer opaque-1"


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


def test_the_logout_done_setting_defines_a_successful_sign_out(
    site: Callable[..., Site], backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.answers["/session"] = Response(status=401, json_body={"done": True})
    browser = site(backend__logout__done="body.done")
    browser.sign_in("alice")
    browser.sign_out()
    assert "SignedOut: the backend" not in caplog.text
    browser = site()
    browser.sign_in("alice")
    browser.sign_out()
    assert "see authapp.backend.logout.done" in caplog.text


def test_sign_out_renews_an_expired_access_token_first(
    site: Callable[..., Site], backend: Backend
) -> None:
    """Some backends identify the session by its access token, and ignore a sign-out with an expired
    one. So a sign-out renews the session first."""
    seen: list[str] = []
    backend.answers["/refresh"] = {**GOOD, "access": "opaque-2", "refresh": "r-2"}

    def ended(request: Request) -> Response:
        seen.append(request.headers["Authorization"])
        return Response(status=204)

    backend.answers["/session"] = ended
    browser = site()
    browser.sign_in("alice")
    csrf = browser.csrf()
    with time_machine.travel(time.time() + 61):
        browser.post("/logout", {"csrf_token": csrf}, status=303)
    assert seen == ["Bearer opaque-2"]


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


def test_a_backend_without_refresh_tokens_rejects_a_renewal() -> None:
    backend = HTTPBackend(
        BoundedSession(1), "http://x.invalid", description(backend__refresh="none")
    )
    assert not backend.refreshes
    with pytest.raises(BackendUnavailable, match=r"authapp\.backend\.refresh is none"):
        backend.refresh(TokenPair("a", "r"))


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


@pytest.mark.parametrize("userinfo", ["none", "\nGET /nowhere"])
def test_a_sign_out_that_renews_loses_no_token(
    site: Callable[..., Site], backend: Backend, userinfo: str
) -> None:
    """A sign-out renews the session, which spends the old refresh token. The sign-out uses the new
    tokens, even if the call of userinfo after the renewal fails."""
    seen: list[str] = []
    backend.answers["/nowhere"] = {"id": 7}

    def ended(request: Request) -> Response:
        seen.append(request.headers["Authorization"])
        return Response(status=204)

    backend.answers["/session"] = ended
    browser = site(backend__userinfo=userinfo)
    browser.sign_in("alice")
    csrf = browser.csrf()
    del backend.answers["/nowhere"]
    backend.answers["/refresh"] = {**GOOD, "access": "opaque-2", "refresh": "r-2"}
    with time_machine.travel(time.time() + 61):
        browser.post("/logout", {"csrf_token": csrf}, status=303)
    assert seen == ["Bearer opaque-2"]


@pytest.mark.parametrize("renewing", ["in this process", "in the store"])
def test_a_sign_out_spends_no_token_that_a_renewal_may_be_spending(
    site: Callable[..., Site], backend: Backend, renewing: str
) -> None:
    calls: list[str] = []

    def refresh(request: Request) -> Response:
        calls.append(request.json_body["refresh"])
        return Response(status=503)

    backend.answers["/refresh"] = refresh
    backend.answers["/session"] = Response(status=204)
    browser = site()
    browser.sign_in("alice")
    csrf, session, renewal = browser.csrf(), browser.opened(), browser.services.renewal
    if renewing == "in this process":
        renewal.flights[flight_name(session)] = Future()
    else:
        renewal.successors.keep_failure(session, "the response is late", 60)
    with time_machine.travel(time.time() + 61):
        browser.post("/logout", {"csrf_token": csrf}, status=303)
    assert calls == []


def test_a_sign_out_whose_renewal_fails(site: Callable[..., Site], backend: Backend) -> None:
    backend.answers["/refresh"] = Response(status=503)
    browser = site()
    browser.sign_in("alice")
    csrf = browser.csrf()
    with time_machine.travel(time.time() + 61):
        answer = browser.post("/logout", {"csrf_token": csrf}, status=303)
    assert "SignedOut" in answer.location


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
