"""Sign-in in two steps, with the application's own backend class: contract section 8."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import requests
import time_machine
from pyramid.config import Configurator
from pyramid.csrf import SessionCSRFStoragePolicy
from pyramid.session import SignedCookieSessionFactory
from webob import Response as Answer
from webtest import TestResponse

from authapp import (
    BackendChallenge,
    BackendRejected,
    ChallengeExpired,
    Credentials,
    SignedIn,
    SignInFailed,
    TokenPair,
)
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from authapp.testing import use_backend
from servers import LOGIN, Served
from site_under_test import COOKIE, Site, fresh, settings

CHALLENGE = "authapp.challenge"


class TwoSteps:
    """A backend that asks for a code as the second step. The right code is ``123456``."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.codes: list[str] = []
        self.fails: Exception | None = None
        self.more = False

    def login(self, credentials: Credentials) -> TokenPair:
        if credentials.password != "sesame":
            raise BackendRejected("no")
        raise BackendChallenge(f"state of {credentials.username}", "totp")

    def challenge(self, state: str, code: str) -> TokenPair:
        self.states.append(state)
        self.codes.append(code)
        if self.fails:
            raise self.fails
        if code != "123456":
            raise BackendRejected("wrong code")
        if self.more:
            self.more = False
            raise BackendChallenge(f"more {state}", "backup")
        access = jwt.encode({"sub": state.rpartition(" ")[2]}, "k" * 32)
        return TokenPair(access, f"refresh of {state}", expires_in=600)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        raise AssertionError

    def logout(self, tokens: TokenPair) -> None:
        pass


@pytest.fixture
def steps() -> TwoSteps:
    return TwoSteps()


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def site(steps: TwoSteps, events: list[Any]) -> Site:
    return site_with(steps, events)


def listen(event: Any) -> None:
    event.request.registry["events"].append(event)


def two_steps(config: Configurator) -> None:
    config.set_auth_backend(TwoSteps())
    for kind in (SignedIn, SignInFailed):
        config.add_subscriber(listen, kind)


def site_with(
    backend: Any,
    events: list[Any],
    more: Callable[[Configurator], None] = two_steps,
    **keys: str,
) -> Site:
    ini = settings("", **keys)
    del ini["authapp.backend.url"]
    site = Site(wsgi=fresh(more, **ini))
    site.app.registry["events"] = events
    use_backend(site.app, backend)
    return site


def first_step(site: Site, target: str = "/account") -> TestResponse:
    """Enter the password. Return the page of the second step."""
    form = site.get("/login", {"next": target}).form
    form["username"], form["password"] = "dora", "sesame"
    return form.submit(status=303).follow()


def enter(page: TestResponse, code: str, **options: Any) -> TestResponse:
    (form,) = [each for each in page.forms.values() if "code" in each.fields]
    form["code"] = code
    return form.submit(**options)


def test_code_completes_the_sign_in(site: Site, steps: TwoSteps, events: list[Any]) -> None:
    page = first_step(site)
    assert page.request.path_qs == "/login/challenge?next=%2Faccount"
    assert 'autocomplete="one-time-code"' in page
    assert "dora" in page
    assert COOKIE not in site.cookies
    assert not events
    done = enter(page, "123 456", status=303)
    assert done.location == "/account"
    assert steps.codes == ["123456"]
    assert CHALLENGE not in site.cookies
    assert [type(event) for event in events] == [SignedIn]
    assert site.opened().identity.name == "dora", "the typed name is used"
    done.follow(status=200)


def test_second_step_keeps_the_choices_of_the_first_one(steps: TwoSteps, events: list[Any]) -> None:
    """The second step keeps two facts from the first step: the user has chosen to stay signed in,
    and signs in again because of ``max_age``. So the session keeps its id and ``remember``."""
    site = site_with(steps, events, session__remember="ask")
    form = site.get("/login").form
    form["username"], form["password"], form["remember"] = "dora", "sesame", True
    enter(form.submit(status=303).follow(), "123456", status=303)
    before = site.opened()
    assert before.remember is True
    with time_machine.travel(time.time() + 100):
        page = site.get("/login", {"next": "/account", "max_age": "60"})
        form = next(each for each in page.forms.values() if "password" in each.fields)
        form["username"], form["password"] = "dora", "sesame"
        enter(form.submit(status=303).follow(), "123456", status=303)
        after = site.opened()
    assert (after.sid, after.remember) == (before.sid, True)
    assert after.authenticated_at >= before.authenticated_at + 100


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


def test_wrong_code_shows_the_form_again(site: Site, steps: TwoSteps, events: list[Any]) -> None:
    page = first_step(site)
    again = enter(page, "1", status=401)
    assert "That code is not correct" in again
    assert [(event.username, event.code) for event in events] == [("dora", "InvalidCredentials")]
    enter(again, "123456", status=303)
    assert steps.states == ["state of dora"] * 2


@pytest.mark.parametrize("code", ["", " ", "1" * 257, "1\0", "1\x7f2"])
def test_impossible_code_is_not_sent_to_the_backend(site: Site, steps: TwoSteps, code: str) -> None:
    enter(first_step(site), code, status=401)
    assert steps.codes == []


def test_ten_wrong_codes_are_too_many(site: Site, steps: TwoSteps) -> None:
    page = first_step(site)
    for number in range(10):
        enter(page, f"{number}", status=401)
    assert int(enter(page, "123456", status=429).headers["Retry-After"]) <= 61
    assert len(steps.codes) == 10
    form = site.get("/login").form
    form["username"], form["password"] = "dora", "sesame"
    form.submit(status=429)


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


def test_form_needs_the_csrf_token(site: Site, steps: TwoSteps) -> None:
    first_step(site)
    site.post("/login/challenge", {"code": "123456"}, status=403)
    assert steps.codes == []


def test_pages_are_not_stored_if_the_application_keeps_the_csrf_tokens(
    steps: TwoSteps, events: list[Any]
) -> None:
    def more(config: Configurator) -> None:
        two_steps(config)
        config.set_session_factory(SignedCookieSessionFactory("of the application"))
        config.set_csrf_storage_policy(SessionCSRFStoragePolicy())

    site = site_with(steps, events, more)
    for page in (site.get("/login"), first_step(site)):
        assert "no-store" in page.headers["Cache-Control"]


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


def test_backend_can_ask_for_a_further_step(site: Site, steps: TwoSteps) -> None:
    steps.more = True
    page = enter(first_step(site), "123456", status=303).follow()
    enter(page, "123456", status=303)
    assert steps.states == ["state of dora", "more state of dora"]
    assert site.opened().identity.id == "dora"


def test_codes_that_lead_to_a_further_step_are_counted(site: Site, steps: TwoSteps) -> None:
    """Some backends answer a wrong code with the same challenge again. Such a code counts as a
    failed sign-in."""
    page = first_step(site)
    for _ in range(10):
        steps.more = True
        page = enter(page, "123456", status=303).follow()
    enter(page, "123456", status=429)
    assert len(steps.codes) == 10


def test_backend_that_no_longer_knows_the_state_starts_again(site: Site, steps: TwoSteps) -> None:
    steps.fails = ChallengeExpired("gone")
    done = enter(first_step(site), "123456", status=303)
    assert done.location.endswith("/login?next=%2Faccount&reason=ChallengeExpired")
    assert CHALLENGE not in site.cookies


def test_failing_backend_keeps_the_challenge(site: Site, steps: TwoSteps) -> None:
    page = first_step(site)
    steps.fails = RuntimeError("with a secret")
    again = enter(page, "123456", status=503)
    assert "not responding" in again
    steps.fails = None
    enter(again, "123456", status=303)


@pytest.mark.parametrize("state", ["", "x" * 1025, "é", "a\n", 5])
def test_unusable_state_is_a_fault_of_the_backend(
    events: list[Any], state: Any, caplog: pytest.LogCaptureFixture
) -> None:
    steps = TwoSteps()
    steps.login = lambda credentials: (_ for _ in ()).throw(BackendChallenge(state))  # type: ignore[method-assign]
    site = site_with(steps, events)
    site.sign_in("dora", "sesame", status=503)
    assert "BackendFailed: TypeError" in caplog.text


def test_longest_state_and_name_fit_into_the_cookie(events: list[Any]) -> None:
    steps = TwoSteps()
    steps.login = lambda credentials: (_ for _ in ()).throw(BackendChallenge('"' * 1024))  # type: ignore[method-assign]
    site = site_with(steps, events)
    answer = site.sign_in("é" * 2000, "sesame", status=303)
    assert all(len(each) < 4096 for each in answer.headers.getall("Set-Cookie"))
    answer.follow(status=200)


def test_session_from_before_stays_until_the_second_step(site: Site, steps: TwoSteps) -> None:
    enter(first_step(site), "123456")
    before = site.token()
    fields = {"username": "emil", "password": "sesame", "csrf_token": site.csrf()}
    page = site.post("/login", fields, status=303).follow(status=200)
    assert site.token() == before
    enter(page, "123456", status=303)
    assert site.opened().identity.id == "emil"


def test_secrets_do_not_appear_in_the_log(
    site: Site, steps: TwoSteps, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = first_step(site)
        enter(page, "654321", status=401)
        enter(page, "123456", status=303)
    for secret in ("123456", "654321", "state of"):
        assert secret not in caplog.text
    assert "state of" not in repr(BackendChallenge("state of dora"))


# A backend that is described in the ini file.

DESCRIBED = {
    "backend__login__challenge": "body.need == 'code'",
    "backend__login__refused": "401",
    "backend__challenge__state": "body.ticket",
    "backend__challenge": ("POST /api/second/\nVisitor: {address}\nTicket: {state}\ncode = {code}"),
    "backend__challenge__expired": "410",
}


@pytest.mark.parametrize("ticket", ["t\\1", 1, 0, 10**20], ids=str)
def test_described_backend(backend: Served, ticket: str | int) -> None:
    site = Site(backend.url, **DESCRIBED)
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.7"
    tokens = requests.post(
        backend.url + LOGIN, json={"username": "alice", "password": "alice-password"}, timeout=5
    ).json()
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": ticket})
    page = site.sign_in("alice", status=303).follow()
    asked = []

    def second(request: Any) -> Answer:
        asked.append((request.headers["Ticket"], request.headers["Visitor"]))
        return answers.pop(0)

    backend.instead["/api/second/"] = second
    answers = [
        Answer(status=401, json_body={"detail": "no"}),
        Answer(status=200, json_body={"need": "code", "ticket": 5.5}),
        Answer(status=200, json_body=tokens),
    ]
    enter(page, "1", status=401)
    enter(page, "2", status=503)
    enter(page, "3", status=303)
    assert asked == [(str(ticket), "192.0.2.7")] * 3


def test_described_backend_whose_state_has_ended(backend: Served) -> None:
    site = Site(backend.url, **DESCRIBED)
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": "t"})
    backend.instead["/api/second/"] = Answer(status=410)
    page = site.sign_in("alice", status=303).follow()
    assert "reason=ChallengeExpired" in enter(page, "1", status=303).location


@pytest.mark.parametrize("ticket", [None, "", True, 5.5, {"id": 5}, "t" * 2000, 10**2000], ids=str)
def test_challenge_without_a_usable_state_names_the_setting(
    backend: Served, ticket: object, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(backend.url, **DESCRIBED)
    backend.instead[LOGIN] = Answer(json_body={"need": "code", "ticket": ticket})
    site.sign_in("alice", status=503)
    assert "see authapp.backend.challenge.state" in caplog.text


@pytest.mark.parametrize("left_out", ["backend__challenge", "backend__challenge__state"])
def test_half_a_description_is_a_problem(left_out: str) -> None:
    keys = {key: value for key, value in DESCRIBED.items() if key != left_out}
    with pytest.raises(SettingsError, match=r"login\.challenge has no effect without"):
        Settings.from_ini(settings("http://127.0.0.1:9", **keys))


def test_a_sign_in_whose_tokens_cannot_be_read_begins_again(events: list[Any]) -> None:
    """The backend accepts the code, but authapp cannot read the tokens. Another code cannot
    complete this sign-in, so the user starts again at the sign-in page."""

    class Unreadable(TwoSteps):
        def challenge(self, state: str, code: str) -> TokenPair:
            super().challenge(state, code)
            return TokenPair("no JWT", "refresh")

    site = site_with(Unreadable(), events)
    again = enter(first_step(site), "123456", status=303)
    assert again.location == "/login?next=%2Faccount&reason=BackendUnavailable"
    assert "sign-in service is not responding" in again.follow()
