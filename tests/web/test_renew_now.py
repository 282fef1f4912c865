"""A script, or the form "Renew now" of the account page, asks for a renewal: POST /session."""

from typing import Any

import pytest
from webob import Response as Answer

from renewal.phases import ENDED, EXPIRED, FRESH, cleared, later, page
from servers import NOT_VALID, REFRESH, Served
from site_under_test import COOKIE, Site


def test_renew_now_calls_the_backend_once_per_request(site: Site, backend: Served) -> None:
    site.sign_in()
    before = site.opened()
    csrf = {"X-CSRF-Token": site.csrf()}
    with later(FRESH):
        answer = site.post("/session", headers=csrf)
        assert answer.json["validity"]["valid_until"] > before.validity.valid_until
        assert answer.headers["Cache-Control"] == "private, no-store"
    with later(EXPIRED):
        site.post("/session", headers=csrf)
    assert backend.calls[REFRESH] == 2, "the tween has already renewed the session"


def test_renew_now_returns_503_while_the_backend_is_down(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = Answer(status=500)
    for seconds in (FRESH, EXPIRED):
        with later(seconds):
            answer = site.post("/session", headers=csrf, status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert answer.headers["Retry-After"] == "1"


def test_renew_now_with_an_unreadable_access_token_keeps_the_refresh_token(
    site: Site, backend: Served
) -> None:
    """If the response to "Renew now" has a new refresh token and an unreadable access token, the
    session gets the refresh token, and the expiry of the session stays the same."""

    def spoil(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        return Answer(json_body={**answer.json_body, "access": "not.a.jwt"})

    site.sign_in()
    before = site.opened()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = spoil
    answer = site.post("/session", headers=csrf, status=503)
    assert answer.json["code"] == "BackendUnavailable"
    assert site.opened().tokens.refresh != before.tokens.refresh
    page(site, status=200)


def test_renew_now_form_on_the_account_page_works_without_script(
    site: Site, backend: Served
) -> None:
    """Without JavaScript, the button "Renew now" of the account page submits a form."""
    site.sign_in()
    form = page(site).forms["renew"]
    before = site.opened()
    with later(FRESH):
        answer = form.submit(status=303)
        assert answer.location == "/account"
        assert site.opened().validity.valid_until > before.validity.valid_until
        backend.instead[REFRESH] = Answer(status=500)
        answer = form.submit(status=503, headers={"Referer": "http://localhost/account"})
        assert "BackendUnavailable" in answer.text
        assert '<a class="button" href="/account">Try again</a>' in answer.text
        page(site, status=200)
        right, form["csrf_token"] = form["csrf_token"].value, "another"
        answer = form.submit(status=403, headers={"Referer": "http://localhost/account"})
        assert '<a class="button" href="/account">Try again</a>' in answer.text
        form["csrf_token"] = right
    with later(ENDED + FRESH):
        assert form.submit(status=303).location == "/login?next=%2Faccount"


def test_renew_now_form_redirects_to_sign_in_when_rejected(site: Site, backend: Served) -> None:
    site.sign_in()
    form = page(site).forms["renew"]
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    headers = {"Referer": "http://localhost/account"}
    answer = form.submit(status=303, headers=headers)
    assert answer.location == "/login?next=%2Faccount&reason=RefreshTokenRejected"
    assert cleared(answer)


def test_renew_now_without_a_session_returns_401(site: Site) -> None:
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    assert site.post("/session", headers=csrf, status=401).json["code"] == "SignInRequired"


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_renew_now_with_an_ended_session_returns_the_reason(site: Site, accept: str) -> None:
    """If "Renew now" is used with an ended session, the error says why the session has ended. The
    error says nothing of the CSRF token, which has ended with the session."""
    site.sign_in()
    headers = {"X-CSRF-Token": site.csrf(), "Accept": accept, **site.cookie_header()}
    copy = site.twin()
    with later(ENDED):
        answer = site.post("/session", headers=headers, status=401)
        assert answer.json["code"] == "RefreshTokenExpired"
        assert answer.json["login_url"].startswith("/login?next=")
    copy.sign_out()
    assert site.post("/session", headers=headers, status=401).json["code"] == "SessionRevoked"


def test_renew_now_rejected_ends_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    assert site.post("/session", headers=csrf, status=401).json["code"] == "RefreshTokenRejected"
    assert COOKIE not in site.cookies
