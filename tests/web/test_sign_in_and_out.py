"""Sign-in, the account page and sign-out: contract section 4."""

import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
import time_machine
from webob import Response

import authapp
from servers import BLACKLIST, ISSUER_SETTINGS, LOGIN, REFRESH, Served
from site_under_test import COOKIE, Site, settings


def test_sign_in_account_page_and_sign_out_work_together(site: Site, backend: Served) -> None:
    assert "You are not signed in" in site.get("/").text
    sent_away = site.get("/account", status=303)
    assert sent_away.location.endswith("/login?next=%2Faccount")

    form = sent_away.follow().form
    form["username"], form["password"] = "alice", "alice-password"
    signed_in = form.submit(status=303)
    assert signed_in.location.endswith("/account")
    assert signed_in.headers["Cache-Control"] == "private, no-store"

    account = signed_in.follow()
    for text in ("alice@example.com", "admin", "Access until", "Session until"):
        assert text in account.text
    assert site.opened().tokens.access not in account.text

    sign_out = [form for form in account.forms.values() if form.action == "/logout"][-1]
    signed_out = sign_out.submit(status=303)
    assert signed_out.location.endswith("/login?reason=SignedOut")
    assert COOKIE not in site.cookies
    assert "You are signed out." in signed_out.follow().text
    assert backend.calls[BLACKLIST] == 1
    site.get("/account", status=303)


def test_session_cookie_has_the_attributes_of_the_contract(site: Site) -> None:
    with time_machine.travel(int(time.time()), tick=False):
        written = site.sign_in().headers.getall("Set-Cookie")
    (cookie,) = [each for each in written if each.startswith(COOKIE)]
    attributes = {each.strip() for each in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"} <= attributes
    assert "secure" not in attributes


def test_session_cookie_is_secure_in_production(backend: Served) -> None:
    site = Site(
        development="false", secret="another secret of sufficient length!", backend__url="https://x"
    )
    assert site.services.cookie.name == "__Host-authapp.session"
    written = site.services.cookie.write("token", 60)[0]
    assert "secure" in written
    assert "HttpOnly" in written


def test_wrong_password_is_refused(site: Site, backend: Served) -> None:
    refused = site.sign_in("alice", "wrong", status=401)
    assert "InvalidCredentials" in refused.text
    assert "That user name and password do not match" in refused.text
    assert refused.form["username"].value == "alice"
    assert refused.form["password"].value == ""
    assert COOKIE not in site.cookies
    assert backend.calls[LOGIN] == 1


def test_embedded_issuer_renews_sessions() -> None:
    site = Site(wsgi=authapp.main({}, **settings("embedded:"), **ISSUER_SETTINGS))
    site.sign_in()
    before = site.opened()
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    assert site.opened().tokens.refresh != before.tokens.refresh


def test_s5_unknown_user_name_is_refused_like_a_wrong_password() -> None:
    """Threat S5. The response to an unknown user name is the same as to a wrong password.

    In both cases, authapp and the embedded issuer call the same functions in the same order.
    """
    site = Site(wsgi=authapp.main({}, **settings("embedded:"), **ISSUER_SETTINGS))

    def refused(name: str) -> tuple[list[str], str, list[tuple[str, str]]]:
        form = site.get("/login").form
        form["username"], form["password"] = name, "wrong"
        called: list[str] = []

        def note(frame: FrameType, event: str, argument: object) -> None:
            module = frame.f_globals.get("__name__", "")
            if module == "authapp.web.static_files":
                return  # in development, the hash is computed again after a second
            if event == "call" and module.startswith("authapp"):
                called.append(f"{module}.{frame.f_code.co_name}")

        sys.setprofile(note)
        try:
            answer = form.submit(status=401)
        finally:
            sys.setprofile(None)
        csrf = answer.form["csrf_token"].value
        return (
            called,
            answer.text.replace(csrf, "").replace(f'value="{name}"', ""),
            [each for each in answer.headerlist if each[0] != "X-Request-ID"],
        )

    with time_machine.travel(time.time(), tick=False):  # the page contains the time
        refused("carol")  # runs the code that only the first request runs
        known, unknown = refused("alice"), refused("nobod")
    assert "authapp.issuer.login" in known[0]
    assert known == unknown


@pytest.mark.parametrize(
    ("name", "password"), [("", "x"), ("alice", ""), ("alice\0", "x"), ("a" * 5000, "x")]
)
def test_invalid_credentials_are_refused_without_calling_the_backend(
    site: Site, backend: Served, name: str, password: str
) -> None:
    form = site.get("/login").form
    fields = {"username": name, "password": password, "csrf_token": form["csrf_token"].value}
    assert "InvalidCredentials" in site.post("/login", fields, status=401).text
    assert backend.calls[LOGIN] == 0


def test_credentials_are_passed_on_as_typed(site: Site, backend: Served) -> None:
    site.sign_in(" ålice ", "  pass\u202eword 🔑 ", status=401)
    assert backend.requests[-1].json_body == {
        "username": " ålice ",
        "password": "  pass\u202eword 🔑 ",
    }


def test_uploaded_file_is_not_accepted_as_a_user_name(site: Site) -> None:
    token = site.get("/login").form["csrf_token"].value
    files = [("username", "name.txt", b"alice")]
    answer = site.post(
        "/login", {"csrf_token": token, "password": "x"}, upload_files=files, status=400
    )
    assert "could not read what your browser sent" in answer.text


def test_sign_in_responds_503_when_the_backend_is_unavailable(site: Site, backend: Served) -> None:
    backend.instead[LOGIN] = Response(status=503, headers={"Retry-After": "7"})
    refused = site.sign_in(status=503)
    assert refused.headers["Retry-After"] == "7"
    assert "BackendUnavailable" in refused.text


def test_a_throttled_sign_in_does_not_stop_renewals_of_other_users(
    site: Site, backend: Served
) -> None:
    site.sign_in("bob")
    backend.instead[LOGIN] = Response(status=429, headers={"Retry-After": "99"}, json_body={})
    other = Site(wsgi=site.app)
    assert other.sign_in(status=429).headers["Retry-After"] == "99"
    csrf = site.csrf()
    assert site.post("/session", headers={"X-CSRF-Token": csrf}).json["user"]["id"] == 2


def test_signed_in_user_is_redirected_from_the_sign_in_page(site: Site) -> None:
    site.sign_in()
    assert site.get("/login?next=/account", status=303).location.endswith("/account")
    assert site.get("/login?next=//evil.com", status=303).location == "/"


def test_new_sign_in_replaces_the_session_id_and_the_csrf_token(site: Site) -> None:
    form = site.get("/login").form
    site.sign_in("alice")
    before, csrf = site.opened(), site.csrf()
    form["username"], form["password"] = "bob", "bob-password"
    form.submit(status=303)
    assert site.opened().identity.name == "bob"
    assert site.opened().sid != before.sid
    assert site.csrf() != csrf


def test_too_many_failed_sign_ins_get_a_429(backend: Served) -> None:
    site = Site(backend.url, login__rate="2/minute")
    for _ in range(2):
        site.sign_in("alice", "wrong", status=401)
    refused = site.sign_in("alice", status=429)
    assert "TooManyAttempts" in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    assert backend.calls[LOGIN] == 2
    for spelled in ("ALICE", "Alice ", "\uff41lice"):
        site.sign_in(spelled, status=429)
    Site(wsgi=site.app).sign_in("bob", status=303)
    # The owner of the account has another address and is not locked out.
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.1"
    site.sign_in("alice", status=303)


def from_address(site: Site, address: str) -> Site:
    other = Site(wsgi=site.app)
    other.extra_environ["REMOTE_ADDR"] = address
    return other


def test_s8_one_address_is_blocked_after_failures_for_many_users(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for number in range(10):
        site.sign_in(f"user{number}", "wrong", status=401)
    site.sign_in("alice", status=429)
    from_address(site, "192.0.2.1").sign_in("alice", status=303)


def test_s8_one_user_is_blocked_after_failures_from_many_addresses(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for number in range(100):
        from_address(site, f"192.0.2.{number}").sign_in("alice", "wrong", status=401)
    from_address(site, "198.51.100.1").sign_in("alice", status=429)
    from_address(site, "198.51.100.1").sign_in("bob", status=303)


def test_s8_only_failed_sign_ins_are_counted(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for _ in range(3):
        Site(wsgi=site.app).sign_in("alice", status=303)
    site.sign_in("alice", "wrong", status=401)
    site.sign_in("alice", status=429)


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=500),
        Response(status=401, text="Unauthorized"),
        Response(status=422, json_body={"message": "bad"}),
        Response(status=404, json_body={"message": "User not found"}),
        Response(status=200, json_body={"code": 401, "msg": "bad"}),
        Response(status=200, json_body={"access": "no JWT", "refresh": "x"}),
        Response(status=503, headers={"Retry-After": "1"}),
    ],
    ids=str,
)
def test_s8_guess_is_counted_for_any_response_of_the_backend(
    backend: Served, answer: Response
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    backend.instead[LOGIN] = answer
    site.sign_in("alice", "guess", status=503)
    del backend.instead[LOGIN]
    site.sign_in("alice", status=429)


def test_s8_sign_ins_are_not_counted_when_the_backend_is_unreachable() -> None:
    site = Site("http://127.0.0.1:1", login__rate="1/minute")
    for _ in range(3):
        site.sign_in("alice", status=503)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", 429),
        ("2001:db8::1", "2001:db8:0:1::1", 401),
        ("::ffff:192.0.2.1", "192.0.2.1", 429),
        ("unix:", "unix:", 429),
    ],
)
def test_s8_an_ipv6_address_counts_by_its_network(
    backend: Served, first: str, second: str, status: int
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ["REMOTE_ADDR"] = first
    site.sign_in("alice", "wrong", status=401)
    site.extra_environ["REMOTE_ADDR"] = second
    site.sign_in("alice", "wrong", status=status)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({"REMOTE_ADDR": "192.0.2.1:5001"}, {"REMOTE_ADDR": "192.0.2.1:5002"}, 429),
        ({"REMOTE_ADDR": "[2001:db8::1]:5001"}, {"REMOTE_ADDR": "[2001:db8::2]:5002"}, 429),
        ({"REMOTE_ADDR": "[2001:db8::1]"}, {"REMOTE_ADDR": "2001:db8::1"}, 429),
        # What waitress makes of X-Forwarded-For: ::ffff:192.0.2.1
        (
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.1"},
            {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "5001"},
            429,
        ),
        (
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.1"},
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.2"},
            401,
        ),
    ],
)
def test_s8_each_spelling_of_an_address_counts_as_one_address(
    backend: Served, first: dict[str, str], second: dict[str, str], status: int
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ |= first
    site.sign_in("alice", "wrong", status=401)
    site.extra_environ |= second
    site.sign_in("alice", "wrong", status=status)


def test_s8_x_forwarded_for_header_is_ignored(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "authapp.audit")
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.1"
    for address, status in (("198.51.100.1", 401), ("198.51.100.2", 429)):
        site.extra_environ["HTTP_X_FORWARDED_FOR"] = address
        site.sign_in("alice", "wrong", status=status)
    assert "192.0.2.1" in caplog.text
    assert "198.51.100." not in caplog.text


def test_s1_csrf_token_from_before_sign_in_is_refused_after_sign_in(site: Site) -> None:
    before = site.get("/login").form["csrf_token"].value
    site.sign_in()
    site.post("/logout", {"csrf_token": before}, status=403)
    site.post("/session", {"csrf_token": before}, status=403)
    assert site.get("/session").json["user"]["id"] == 1


def test_get_logout_asks_for_confirmation_and_does_not_sign_out(site: Site) -> None:
    site.sign_in()
    asked = site.get("/logout")
    assert "Do you want to sign out?" in asked.text
    assert site.get("/session").json["user"]["id"] == 1
    asked.forms[1].submit("everywhere", status=303)
    assert site.get("/session").json["user"] is None


def test_sign_out_requires_the_csrf_token_and_the_same_origin(site: Site) -> None:
    site.sign_in()
    assert "BadCSRFToken" in site.post("/logout", {"csrf_token": "wrong"}, status=403).text
    foreign = {"Origin": "https://evil.example"}
    site.post("/logout", {"csrf_token": site.csrf()}, headers=foreign, status=403)
    site.post("/logout", {"csrf_token": site.csrf()}, headers={"Origin": "null"}, status=403)
    site.post("/logout", {"csrf_token": site.csrf()}, headers={"Origin": "http://["}, status=403)
    assert site.get("/session").json["user"]["id"] == 1
    here = {"Origin": "http://localhost:80"}
    site.post("/logout", {"csrf_token": site.csrf()}, headers=here, status=303)


def test_sign_out_without_a_session_redirects_as_usual(site: Site) -> None:
    for _ in range(2):
        assert site.post("/logout", status=303).location.endswith("reason=SignedOut")


def test_a_copy_of_a_signed_out_cookie_is_refused(site: Site) -> None:
    site.sign_in()
    copy = site.twin()
    site.sign_out()
    answer = copy.get("/account", status=303)
    assert answer.location.endswith("/login?next=%2Faccount&reason=SessionRevoked")
    assert COOKIE not in copy.cookies
    assert "You have been signed out" in answer.follow().text


def test_sign_out_everywhere_ends_all_sessions_of_this_user_only(site: Site) -> None:
    other, bob = Site(wsgi=site.app), Site(wsgi=site.app)
    site.sign_in("alice")
    other.sign_in("alice")
    bob.sign_in("bob")
    site.sign_out(everywhere=True)
    assert other.get("/session").json["error"] == "SessionRevoked"
    assert bob.get("/session").json["user"]["id"] == 2
    other.sign_in("alice")
    assert other.get("/session").json["user"]["id"] == 1


def test_sign_out_revokes_the_session_when_the_backend_fails(site: Site, backend: Served) -> None:
    site.sign_in()
    backend.instead[BLACKLIST] = Response(status=500)
    copy = site.twin()
    site.sign_out()
    assert copy.get("/session").json["error"] == "SessionRevoked"


def test_s10_session_is_revoked_before_the_backend_is_called(site: Site, backend: Served) -> None:
    """Threat S10. A sign-out revokes the session on this site first, and then calls the backend. So
    a slow backend does not delay the sign-out on this site."""
    site.sign_in()
    copy = site.twin()
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        come.set()
        assert go.wait(10)

    backend.instead[BLACKLIST] = wait
    with ThreadPoolExecutor(1) as pool:
        signing_out = pool.submit(site.sign_out)
        assert come.wait(20)
        assert copy.get("/session").json["error"] == "SessionRevoked"
        go.set()
        assert signing_out.result(20).status_int == 303


def test_forms_still_work_after_a_failed_sign_in_of_a_signed_in_user(site: Site) -> None:
    """If a signed-in user fails to sign in as another user, the page has a sign-out form above the
    sign-in form, and both forms work."""
    form = site.get("/login").form
    site.sign_in()
    form["username"], form["password"] = "bob", "wrong"
    page = form.submit(status=401)
    again = page.forms[1]
    again["username"], again["password"] = "bob", "bob-password"
    assert again.submit(status=303).location == "/"
    assert site.get("/session").json["user"]["id"] == 2
    page = form.submit(status=401)
    assert page.forms[0].action == "/logout"
    page.forms[0].submit(status=303)
    assert COOKIE not in site.cookies


def test_the_form_of_a_kept_session_works_after_that_session_has_ended(
    site: Site, backend: Served
) -> None:
    """While the backend is down, a user opens the sign-in form. If the user's old session ends
    before the user sends the form, the form still works."""
    site.sign_in()
    ends = site.opened().validity
    backend.instead[REFRESH] = Response(status=503)
    with time_machine.travel(ends.valid_until + 1):
        form = site.get("/login").forms["sign-in"]
    form["username"], form["password"] = "bob", "bob-password"
    with time_machine.travel(ends.refresh_until + 1):
        form.submit(status=303)
        assert site.get("/session").json["user"]["id"] == 2


def test_while_the_backend_is_down_the_sign_in_page_can_sign_out(
    site: Site, backend: Served
) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Response(status=503)
    with time_machine.travel(site.opened().validity.valid_until + 1):
        form = site.get("/login").forms[0]
        assert form.action == "/logout"
        form.submit(status=303)
    assert COOKIE not in site.cookies


def test_csrf_is_required_of_every_unsafe_request(site: Site) -> None:
    site.post("/login", {"username": "alice", "password": "alice-password"}, status=403)
    site.sign_in()
    problem = site.post("/session", status=403, headers={"Accept": "application/json"})
    assert problem.content_type == "application/problem+json"
    assert problem.json["code"] == "BadCSRFToken"
