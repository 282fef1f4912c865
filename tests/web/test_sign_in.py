"""Sign-in with a password, and the account page: contract section 4."""

import sys
import time
from types import FrameType

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
