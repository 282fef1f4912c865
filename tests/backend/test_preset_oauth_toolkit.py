"""Test the preset ``oauth-toolkit`` with Django and django-oauth-toolkit."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.oauth_toolkit_app import CLIENT_ID, CLIENT_SECRET
from servers.process import Process, serve
from site_under_test import COOKIE, Site

TOKEN, REVOKE, ME = "/o/token/", "/o/revoke_token/", "/me"
GATEWAY = "POST /gateway\nrefresh_token = {refresh}"
LONG, SHORT = 300, 2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve("oauth_toolkit_app.py", tmp_path_factory.mktemp("toolkit")) as served:
        yield served


@pytest.fixture
def django(process: Process) -> Process:
    process.set(access=LONG, active={"bob": True})
    return process


def site_of(django: Process, **more: str) -> Site:
    preset = {"backend__preset": "oauth-toolkit", "backend__scope": "read"}
    client = {"backend__client_id": CLIENT_ID, "backend__client_secret": CLIENT_SECRET}
    me = {"backend__userinfo": f"GET {ME}\nAuthorization: Bearer {{access}}"}
    return Site(django.url, **{**preset, **client, **me, **more})


def page(site: Site, **options: Any) -> Any:
    return site.get("/account", headers={"Accept": "text/html"}, **options)


def wait_until_expired(site: Site) -> Any:
    """Wait until the access token of the session has expired. Return the session."""
    session = site.opened()
    while time.time() <= session.validity.valid_until:
        time.sleep(0.01)
    return session


def refuses(django: Process, refresh: str) -> bool:
    """Return True if Django refuses a refresh token. If Django accepts the token, this check spends
    it."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    answer = django.request("POST", TOKEN, data=form | client)
    return (answer.status_code, answer.json().get("error")) == (400, "invalid_grant")


def test_a_wrong_password_is_refused(django: Process) -> None:
    site = site_of(django)
    assert "InvalidCredentials" in site.sign_in("alice", "wrong", status=401).text
    assert COOKIE not in site.cookies


def test_a_wrong_client_secret_returns_503(django: Process) -> None:
    site = site_of(django, backend__client_secret="wrong")
    assert "BackendUnavailable" in site.sign_in(status=503).text


@pytest.mark.parametrize("auth", ["basic", "post"])
def test_sign_in_shows_the_identity_from_userinfo(django: Process, auth: str) -> None:
    site = site_of(django, backend__client_auth=auth)
    site.sign_in(status=303)
    shown = {"user-id": "1", "email": "alice@example.com", "name": "Alice Liddell"}
    html = page(site, status=200).html
    for element, text in {**shown, "roles": "admin"}.items():
        assert html.find(id=element).text.strip() == text
    assert LONG - 5 < site.opened().validity.valid_until - time.time() <= LONG


def test_three_renewals_in_a_row_use_each_refresh_token_once(django: Process) -> None:
    django.set(access=SHORT)
    site = site_of(django)
    site.sign_in()
    chain = [site.opened().tokens.refresh]
    for _ in range(3):
        wait_until_expired(site)
        assert "alice@example.com" in page(site, status=200)
        chain.append(site.opened().tokens.refresh)
    assert [refuses(django, each) for each in chain] == [True, True, True, False]


def deactivated_and_expired(django: Process) -> Site:
    """Return a site with a deactivated user, who has a session with an expired access token."""
    django.set(access=SHORT)
    site = site_of(django)
    site.sign_in("bob")
    django.set(active={"bob": False})
    wait_until_expired(site)
    return site


def test_the_package_renews_the_session_of_a_deactivated_user(django: Process) -> None:
    page(deactivated_and_expired(django), status=200)
    assert "InvalidCredentials" in site_of(django).sign_in("bob", status=401).text


def test_a_validator_that_refuses_inactive_users_ends_the_session(tmp_path: Path) -> None:
    with serve("oauth_toolkit_app.py", tmp_path, VALIDATOR="active") as django:
        site = deactivated_and_expired(django)
        assert page(site, status=303).location.endswith("reason=RefreshTokenRejected")
    assert COOKIE not in site.cookies


def test_sign_out_revokes_both_tokens(django: Process) -> None:
    site = site_of(django)
    site.sign_in()
    tokens, before = site.opened().tokens, django.set()
    access = {"Authorization": f"Bearer {tokens.access}"}
    assert django.request("GET", ME, headers=access).status_code == 200
    site.sign_out()
    after = django.set()
    assert after["calls"].get(REVOKE) == before["calls"].get(REVOKE, 0) + 1
    assert after["good"] == before["good"] - 1
    assert django.request("GET", ME, headers=access).status_code == 403
    assert refuses(django, tokens.refresh)


def test_a_403_from_a_gateway_keeps_the_session(django: Process) -> None:
    django.set(access=SHORT)
    site = site_of(django, backend__refresh=GATEWAY)
    site.sign_in()
    before = wait_until_expired(site)
    page(site, status=503)
    assert site.opened().tokens.refresh == before.tokens.refresh
    assert not refuses(django, before.tokens.refresh)
