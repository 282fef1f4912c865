"""Test the preset ``allauth`` with Django, django-allauth headless and its JWT tokens."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.process import Process, serve
from site_under_test import COOKIE, Site

API = "/_allauth/app/v1"
LOGIN, REFRESH, SESSION = f"{API}/auth/login", f"{API}/tokens/refresh", f"{API}/auth/session"
GATEWAY = "POST /gateway\nrefresh_token = {refresh}"
LONG, SHORT = 300, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("allauth")


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[Process]:
    with serve("allauth_app.py", folder) as served:
        yield served


@pytest.fixture
def preset(folder: Path) -> dict[str, str]:
    return {"backend__preset": "allauth", "backend__verify": f"pem:{folder / 'public.pem'}"}


@pytest.fixture
def django(process: Process) -> Process:
    process.set(access=LONG, active={"bob": True}, methods=["username"])
    return process


@pytest.fixture
def site(django: Process, preset: dict[str, str]) -> Site:
    return Site(django.url, **preset)


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
    answer = django.post(REFRESH, refresh_token=refresh)
    return (answer.status_code, answer.json()) == (400, {"status": 400})


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("mallory", "x"), (" ", "x")])
def test_wrong_credentials_are_refused(site: Site, name: str, password: str) -> None:
    assert "InvalidCredentials" in site.sign_in(name, password, status=401).text
    assert COOKIE not in site.cookies


def test_incomplete_and_locked_accounts_are_refused(site: Site, django: Process) -> None:
    assert "AccountIncomplete" in site.sign_in("carol", status=403).text
    django.set(active={"bob": False})
    assert "AccountLocked" in site.sign_in("bob", status=403).text
    assert COOKIE not in site.cookies


def test_too_many_failed_attempts_block_one_user(site: Site, django: Process) -> None:
    for _ in range(5):
        django.post(LOGIN, username="bob", password="wrong")
    assert "TooManyAttempts" in site.sign_in("bob", status=429).text


def test_too_many_sign_ins_block_one_address_only(site: Site, django: Process) -> None:
    for _ in range(31):
        headers = {"X-Forwarded-For": "192.0.2.1"}
        answer = django.request("POST", LOGIN, headers=headers, json={})
    assert (answer.status_code, answer.json()) == (429, {"status": 429})
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.1"
    assert "TooManyAttempts" in site.sign_in(status=429).text
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.2"
    site.sign_in(status=303)


def test_sign_in_by_email_address_needs_another_login_request(
    site: Site, django: Process, preset: dict[str, str]
) -> None:
    django.set(methods=["email"])
    assert "BackendUnavailable" in site.sign_in(status=503).text
    login = f"POST {LOGIN}\nemail = {{username}}\npassword = {{password}}"
    site = Site(django.url, **preset, backend__login=login)
    for wrong in ("alice", "mallory@example.com"):
        assert "InvalidCredentials" in site.sign_in(wrong, "x", status=401).text
    site.sign_in("alice@example.com", "alice-password", status=303)


def assert_page_shows_alice(site: Site) -> None:
    html = page(site, status=200).html
    shown = {"user-id": "1", "email": "alice@example.com", "name": "alice", "roles": "admin"}
    for element, text in shown.items():
        assert html.find(id=element).text.strip() == text


def test_three_renewals_in_a_row_use_each_refresh_token_once(site: Site, django: Process) -> None:
    django.set(access=SHORT)
    site.sign_in(status=303)
    assert_page_shows_alice(site)
    chain = [site.opened().tokens.refresh]
    for _ in range(3):
        wait_until_expired(site)
        assert_page_shows_alice(site)
        chain.append(site.opened().tokens.refresh)
    assert [refuses(django, each) for each in chain] == [True, True, True, False]


def test_a_deactivated_users_session_ends(site: Site, django: Process) -> None:
    django.set(access=SHORT)
    site.sign_in("bob")
    django.set(active={"bob": False})
    wait_until_expired(site)
    assert page(site, status=303).location.endswith("reason=RefreshTokenRejected")
    assert COOKIE not in site.cookies


def test_sign_out_ends_the_session_at_the_backend(
    site: Site, django: Process, caplog: pytest.LogCaptureFixture
) -> None:
    site.sign_in()
    tokens, before = site.opened().tokens, django.set()["calls"]
    site.sign_out()
    assert django.set()["calls"][f"DELETE {SESSION}"] == before.get(f"DELETE {SESSION}", 0) + 1
    assert refuses(django, tokens.refresh)
    assert not [each for each in caplog.messages if "did not revoke" in each]


def test_a_403_from_a_gateway_keeps_the_session(django: Process, preset: dict[str, str]) -> None:
    django.set(access=SHORT)
    site = Site(django.url, **preset, backend__refresh=GATEWAY)
    site.sign_in()
    before = wait_until_expired(site)
    page(site, status=503)
    assert site.opened().tokens.refresh == before.tokens.refresh
    assert not refuses(django, before.tokens.refresh)


def first_step(site: Site) -> Any:
    """Enter the password of a user with a second factor. Return the page that asks for the code."""
    answer = site.sign_in("dave", status=303)
    assert answer.location.endswith("/login/challenge?next=%2F")
    assert COOKIE not in site.cookies
    return answer.follow()


def enter(page: Any, code: str, **options: Any) -> Any:
    form = page.form
    form["code"] = code
    return form.submit(**options)


def test_second_step_with_a_code_of_the_authenticator_app(site: Site, django: Process) -> None:
    page = first_step(site)
    assert "not correct" in enter(page, "000000", status=401)
    code = django.set()["codes"]["totp"]
    done = enter(page, f" {code[:3]} {code[3:]} ", status=303)
    assert done.location == "/"
    assert site.opened().identity.name == "dave"
    assert "dave@example.com" in site.get("/account")


def test_second_step_with_a_recovery_code_works_once(site: Site, django: Process) -> None:
    code = django.set()["codes"]["recovery"][0]
    enter(first_step(site), code, status=303)
    site.sign_out()
    enter(first_step(site), code, status=401)
    assert code not in django.set()["codes"]["recovery"]


def test_second_step_is_refused_after_ten_wrong_codes(site: Site, django: Process) -> None:
    page = first_step(site)
    statuses = [enter(page, "000000", status="*").status_int for _ in range(10)]
    # allauth stops after five wrong codes. The attempts after that are counted too.
    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) == {429}
    django.set()  # allauth forgets the attempts
    enter(page, django.set()["codes"]["totp"], status=429)
