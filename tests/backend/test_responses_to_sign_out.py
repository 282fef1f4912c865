"""What a sign-out asks of the backend, and what the response of the backend means."""

import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import time_machine
from webob import Request, Response

from authapp.renewal.single_flight import flight_name
from backend import scripted_backend
from backend.scripted_backend import GOOD, Backend
from site_under_test import Site

# The fixtures of these tests.
backend, site = scripted_backend.backend, scripted_backend.site


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
