"""Test authapp with a real backend: Django with SimpleJWT, in a separate process.

Django uses the real clock, so these tests wait until tokens expire. If a test needs tokens to
expire, they are valid for two seconds. In all other tests they are valid for minutes.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request

from servers import BLACKLIST, LOGIN, REFRESH
from servers.simplejwt_server import Django, serve_django
from site_under_test import COOKIE, Site, settings

ME = "/api/me/"
ACCESS, WINDOW, SHORT = 300, 3600, 2


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Django]:
    with serve_django(tmp_path_factory.mktemp("django"), ACCESS, WINDOW) as django:
        yield django


@pytest.fixture
def django(process: Django) -> Django:
    """Reset the Django process to its initial state, and return the process."""
    process.set(access=ACCESS, refresh=WINDOW, active={"alice": True, "bob": True})
    return process


@pytest.fixture
def site(django: Django) -> Site:
    return Site(django.url, backend__verify=f"secret:{django.key}")


def page(site: Site, path: str = "/account", **options: Any) -> Any:
    return site.get(path, headers={"Accept": "text/html"}, **options)


def renew_now(site: Site, **options: Any) -> Any:
    headers = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    return site.post("/session", headers=headers, **options)


def wait_until(moment: float) -> None:
    while time.time() <= moment:
        time.sleep(0.01)


def sign_in_until_expired(site: Site, django: Django, name: str = "alice") -> None:
    """Sign in, and wait until the access token has expired. Every later access token from Django is
    valid for ``ACCESS`` seconds."""
    django.set(access=SHORT)
    site.sign_in(name, status=303)
    django.set(access=ACCESS)
    wait_until(site.opened().validity.valid_until)


def assert_ended(site: Site, answer: Any, code: str, sentence: str) -> None:
    """Assert that a session has ended: the response deletes the cookie and redirects to the sign-in
    page. After the sign-in, the user returns to the requested page."""
    assert answer.status_int == 303
    assert answer.location.endswith(f"/login?next=%2Faccount%3Ftab%3D1&reason={code}")
    assert COOKIE not in site.cookies
    assert sentence in answer.follow().text


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("mallory", "x")])
def test_wrong_credentials_are_refused(
    site: Site, django: Django, name: str, password: str
) -> None:
    before = django.count()
    refused = site.sign_in(name, password, status=401)
    assert "InvalidCredentials" in refused.text
    assert "That user name and password do not match" in refused.text
    assert COOKIE not in site.cookies
    after = django.count()
    assert after["calls"][LOGIN] == before["calls"][LOGIN] + 1
    assert after["outstanding"] == before["outstanding"]


def test_an_inactive_user_cannot_sign_in(site: Site, django: Django) -> None:
    django.set(active={"bob": False})
    assert "InvalidCredentials" in site.sign_in("bob", status=401).text


@pytest.mark.parametrize(
    ("name", "user_id", "role", "admin"),
    [("alice", "1", "admin", 200), ("bob", "2", "editor", 403)],
)
def test_sign_in_shows_the_identity_from_the_token(
    site: Site, name: str, user_id: str, role: str, admin: int
) -> None:
    site.sign_in(name, status=303)
    html = page(site, status=200).html
    shown = {"name": name, "user-id": user_id, "email": f"{name}@example.com", "roles": role}
    for element, text in shown.items():
        assert html.find(id=element).text.strip() == text
    page(site, "/admin", status=admin)

    told = site.get("/session").json
    assert told["user"] == {"id": user_id, "email": f"{name}@example.com", "roles": [role]}
    tokens = site.opened().tokens
    access, refresh = (
        jwt.decode(token, options={"verify_signature": False})
        for token in (tokens.access, tokens.refresh)
    )
    assert told["validity"] == {"valid_until": access["exp"], "refresh_until": refresh["exp"]}


def test_sign_in_fails_when_the_token_is_signed_with_another_key(django: Django) -> None:
    site = Site(django.url, backend__verify="secret:another-key-than-that-of-the-server")
    assert "BackendUnavailable" in site.sign_in(status=503).text
    assert COOKIE not in site.cookies


def test_the_session_is_renewed_after_the_access_token_expires(site: Site, django: Django) -> None:
    sign_in_until_expired(site, django)
    before, count = site.opened(), django.count()
    answer = page(site, status=200)
    after = site.opened()
    assert "alice@example.com" in answer.text
    assert after.validity.valid_until > time.time() >= before.validity.valid_until
    assert (after.sid, after.identity.roles) == (before.sid, ("admin",))
    assert django.count()["calls"][REFRESH] == count["calls"][REFRESH] + 1
    assert django.refuses(before.tokens.refresh)
    page(site, status=200)
    assert site.opened().tokens == after.tokens, "the session is fresh now"


def test_three_rotations_in_a_row_use_each_refresh_token_once(site: Site, django: Django) -> None:
    site.sign_in()
    chain = [site.opened().tokens.refresh]
    for _ in range(3):
        assert renew_now(site, status=200).json["user"]["id"] == "1"
        chain.append(site.opened().tokens.refresh)
    assert len(set(chain)) == 4
    assert [django.refuses(each) for each in chain] == [True, True, True, False]


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_an_hour_of_clock_difference_does_not_change_lifetimes(site: Site, ahead: int) -> None:
    """If the site's clock is an hour wrong and Django's clock is right, each token is still valid
    for its full lifetime by the site's clock."""
    with time_machine.travel(time.time() + ahead):
        site.sign_in(status=303)
        for _ in range(2):
            validity = page(site, status=200) and site.opened().validity
            assert ACCESS - 5 <= validity.valid_until - time.time() <= ACCESS
            assert WINDOW - 5 <= validity.refresh_until - time.time() <= WINDOW
            renew_now(site, status=200)


def test_a_deactivated_users_session_ends(site: Site, django: Django) -> None:
    sign_in_until_expired(site, django, "bob")
    program = site.twin()
    django.set(active={"bob": False})
    assert_ended(
        site,
        page(site, "/account?tab=1"),
        "RefreshTokenRejected",
        "The sign-in service has ended your session.",
    )
    problem = program.get("/account", headers={"Accept": "application/json"}, status=401)
    assert problem.json["code"] == "RefreshTokenRejected"
    assert COOKIE not in program.cookies


def test_a_refresh_token_used_elsewhere_ends_the_session(site: Site, django: Django) -> None:
    site.sign_in()
    assert not django.refuses(site.opened().tokens.refresh)
    assert renew_now(site, status=401).json["code"] == "RefreshTokenRejected"
    assert COOKIE not in site.cookies


def test_the_session_ends_with_the_refresh_token(site: Site, django: Django) -> None:
    django.set(access=SHORT, refresh=SHORT + 1)
    site.sign_in(status=303)
    ends, cookie = site.opened().validity.refresh_until, site.cookie_header()
    calls = django.count()["calls"][REFRESH]
    wait_until(ends)
    # A browser sends an expired cookie only if its clock is slow.
    answer = site.get("/account?tab=1", headers=cookie)
    assert_ended(site, answer, "RefreshTokenExpired", "Your session has ended.")
    assert "reason" not in page(site, status=303).location
    assert django.count()["calls"][REFRESH] == calls, "the site did not call Django"


def test_sign_out_blacklists_the_refresh_token(site: Site, django: Django) -> None:
    site.sign_in()
    refresh, copy, before = site.opened().tokens.refresh, site.twin(), django.count()
    site.sign_out()
    after = django.count()
    assert after["calls"][BLACKLIST] == before["calls"][BLACKLIST] + 1
    assert after["blacklisted"] == before["blacklisted"] + 1
    assert django.refuses(refresh)
    assert copy.get("/session").json["error"] == "SessionRevoked"


def test_sign_out_with_an_older_cookie_blacklists_the_newest_token(
    site: Site, django: Django
) -> None:
    site.sign_in()
    older = site.twin()
    renew_now(site, status=200)
    older.sign_out()
    assert django.refuses(site.opened().tokens.refresh)
    assert site.get("/session").json["error"] == "SessionRevoked"


def test_fifty_threads_with_one_expired_session_use_one_refresh_token(
    site: Site, django: Django
) -> None:
    sign_in_until_expired(site, django)
    browsers, before = [site.twin() for _ in range(50)], django.count()
    barrier = threading.Barrier(50)

    def visit(browser: Site) -> str:
        barrier.wait()
        return page(browser, status=200).html.find(id="email").text

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(visit, browsers)) == ["alice@example.com"] * 50
    after = django.count()
    assert after["calls"][REFRESH] == before["calls"][REFRESH] + 1
    assert after["outstanding"] == before["outstanding"] + 1
    (refresh,) = {browser.opened().tokens.refresh for browser in browsers}
    assert django.refuses(site.opened().tokens.refresh)
    assert not django.refuses(refresh)


@pytest.fixture
def application(django: Django) -> Site:
    """An application that uses authapp and calls Django's API as the user."""

    def whoami(request: Request) -> dict[str, Any]:
        answer = request.backend.get(ME)
        return {"status": answer.status_code, **answer.json()}

    with Configurator(
        settings=settings(django.url, backend__verify=f"secret:{django.key}")
    ) as config:
        config.include("authapp")
        config.add_route("whoami", "/whoami")
        config.add_view(whoami, route_name="whoami", renderer="json")
        return Site(wsgi=config.make_wsgi_app())


def test_application_calls_are_made_as_the_user(application: Site) -> None:
    assert application.get("/whoami").json["status"] == 401
    application.sign_in("bob")
    assert application.get("/whoami").json == {"status": 200, "username": "bob"}


def test_a_call_with_an_expired_token_is_retried_with_a_new_token(
    application: Site, django: Django
) -> None:
    """The site's clock is slow, so the site calls Django's API with a token that has expired by
    Django's clock. The site then renews the session and repeats the call."""
    slow = lambda: time_machine.travel(time.time() - 20)  # noqa: E731
    django.set(access=SHORT)
    with slow():
        application.sign_in("alice")
    before, count = application.opened(), django.count()
    django.set(access=ACCESS)
    wait_until(before.validity.valid_until)
    with slow():
        assert application.get("/whoami").json == {"status": 200, "username": "alice"}
    after = django.count()
    assert after["calls"][REFRESH] == count["calls"][REFRESH] + 1
    assert after["calls"][ME] == count["calls"][ME] + 2
    assert application.opened().tokens.refresh != before.tokens.refresh


def test_a_call_for_a_deactivated_user_ends_the_session(application: Site, django: Django) -> None:
    application.sign_in("bob")
    django.set(active={"bob": False})
    assert application.get("/whoami").json["code"] == "user_inactive"
    assert COOKIE not in application.cookies
    application.get("/account", status=303)
