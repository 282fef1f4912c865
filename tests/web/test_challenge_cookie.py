"""The cookie that remembers the first step of a sign-in until the second step."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from webtest import TestResponse

from authapp import BackendChallenge, TokenPair
from site_under_test import COOKIE, Site, settings
from web.two_steps import CHALLENGE, TwoSteps, enter, first_step, site_with
from web.two_steps import events as events
from web.two_steps import site as site
from web.two_steps import steps as steps


def test_cookie_is_encrypted_and_goes_to_the_sign_in_pages_only(site: Site) -> None:
    form = site.get("/login").form
    form["username"], form["password"] = "dora", "sesame"
    (cookie,) = [
        each for each in form.submit().headers.getall("Set-Cookie") if each.startswith(CHALLENGE)
    ]
    attributes = set(cookie.split("; ")[1:])
    assert attributes >= {"HttpOnly", "Max-Age=600", "Path=/login", "SameSite=Lax"}
    assert "state of" not in cookie


def test_cookie_is_secure_outside_development(steps: TwoSteps) -> None:
    ini = settings("") | {"authapp.development": "false"}
    del ini["authapp.backend.url"]
    with Configurator(settings=ini) as config:
        config.include("authapp")
        config.set_auth_backend(steps)
        site = Site(wsgi=config.make_wsgi_app())
    site.extra_environ["wsgi.url_scheme"] = "https"
    site.extra_environ["HTTP_HOST"] = "localhost:443"
    form = site.get("/login").form
    form["username"], form["password"] = "dora", "sesame"
    cookies = form.submit(status=303).headers.getall("Set-Cookie")
    (cookie,) = [each for each in cookies if CHALLENGE in each]
    assert cookie.startswith(f"__Secure-{CHALLENGE}=")
    assert "secure" in cookie


def test_copy_of_the_cookie_does_not_work_after_the_sign_in(site: Site, steps: TwoSteps) -> None:
    page = first_step(site)
    copy = site.twin()
    copy.get("/login/challenge", status=200)
    enter(page, "123456", status=303)
    fields = {"csrf_token": page.form["csrf_token"].value, "code": "123456"}
    again = copy.post("/login/challenge", fields, status=303)
    assert "reason=ChallengeExpired" in again.location
    assert "took too long or is no longer valid" in again.follow()
    assert len(steps.codes) == 1


@pytest.mark.parametrize("further", [False, True])
def test_w7_two_requests_at_once_complete_a_sign_in_once(
    steps: TwoSteps, events: list[Any], further: bool
) -> None:
    """Two browsers with copies of one cookie post the right code at the same time. Only one session
    begins. This is so even if the backend asks each browser for a third step (``further``)."""
    site = site_with(steps, events, backend__bulkhead="16")
    page = first_step(site)
    fields = {"csrf_token": page.form["csrf_token"].value, "code": "123456", "next": "/account"}
    browsers, both = [site.twin(), site.twin()], threading.Barrier(2)
    answer = steps.challenge

    def challenge(state: str, code: str) -> TokenPair:
        both.wait(5)
        if further and not state.startswith("more"):
            raise BackendChallenge(f"more {state}", "backup")
        return answer(state, code)

    def post(browser: Site) -> TestResponse:
        return browser.post("/login/challenge", fields, status=303)

    steps.challenge = challenge  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(post, browsers))
        if further:
            assert {each.location for each in answers} == {"/login/challenge?next=%2Faccount"}
            answers = list(pool.map(post, browsers))
    assert len(steps.codes) == 2, "the backend has accepted both codes"
    ended = "/login?next=%2Faccount&reason=ChallengeExpired"
    assert sorted(each.location for each in answers) == ["/account", ended]
    assert sorted(type(event).__name__ for event in events) == ["SignInFailed", "SignedIn"]
    (signed_in,) = [each for each in browsers if COOKIE in each.cookies]
    assert all(CHALLENGE not in each.cookies for each in browsers)
    # After a second click, the browser has the cookie of the first click. It gets its page.
    assert signed_in.get(ended, status=303).location == "/account"


def test_cookie_of_another_browser_does_not_work(site: Site, steps: TwoSteps) -> None:
    first_step(site)
    other = Site(wsgi=site.app)
    csrf = other.get("/login").form["csrf_token"].value
    other.set_cookie(CHALLENGE, site.cookies[CHALLENGE])
    assert other.get("/login/challenge", status=303).location.endswith("/login?next=%2F")
    other.post("/login/challenge", {"csrf_token": csrf, "code": "123456"}, status=303)
    assert steps.codes == []
    assert COOKIE not in other.cookies


def test_challenge_ends_after_ten_minutes(site: Site, steps: TwoSteps) -> None:
    page = first_step(site)
    with time_machine.travel(time.time() + 599):
        site.get("/login/challenge", status=200)
    with time_machine.travel(time.time() + 602):
        assert "reason=ChallengeExpired" in enter(page, "123456", status=303).location
        site.get("/login/challenge", status=303)
    assert steps.codes == []


@pytest.mark.parametrize("value", ["", "x", "é", "a" * 5000, "gAAAAA"])
def test_cookie_of_any_bytes_is_no_challenge(site: Site, value: str) -> None:
    header = f"{CHALLENGE}={value}".encode().decode("latin-1")
    site.get("/login/challenge", headers={"Cookie": header}, status=303)


def test_cookie_that_another_version_has_written_is_no_challenge(site: Site) -> None:
    from authapp.session.sealed_value import SealedValue

    sealed = SealedValue(site.services.settings.secrets, "challenge", 600)
    for value in ({}, {"id": "1"}, ["x"]):
        site.set_cookie(CHALLENGE, sealed.seal(value))  # type: ignore[arg-type]
        site.get("/login/challenge", status=303)


def test_cancel_ends_the_challenge(site: Site) -> None:
    page = first_step(site)
    copy = site.twin()
    copy.get("/login/challenge", status=200)
    cancelled = page.form.submit("cancel", status=303)
    assert cancelled.location.endswith("/login?next=%2Faccount")
    assert CHALLENGE not in site.cookies
    copy.get("/login/challenge", status=303)


def test_longest_state_and_name_fit_into_the_cookie(events: list[Any]) -> None:
    steps = TwoSteps()
    steps.login = lambda credentials: (_ for _ in ()).throw(BackendChallenge('"' * 1024))  # type: ignore[method-assign]
    site = site_with(steps, events)
    answer = site.sign_in("é" * 2000, "sesame", status=303)
    assert all(len(each) < 4096 for each in answer.headers.getall("Set-Cookie"))
    answer.follow(status=200)
