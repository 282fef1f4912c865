"""Sign-in in two steps, with the application's own backend class: contract section 8."""

import logging
import time
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.csrf import SessionCSRFStoragePolicy
from pyramid.session import SignedCookieSessionFactory

from authapp import BackendChallenge, ChallengeExpired, SignedIn, TokenPair
from site_under_test import COOKIE, Site
from web.two_steps import CHALLENGE, TwoSteps, enter, first_step, site_with, two_steps
from web.two_steps import events as events
from web.two_steps import site as site
from web.two_steps import steps as steps


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
