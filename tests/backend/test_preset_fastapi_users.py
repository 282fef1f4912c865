"""Test the preset ``fastapi-users`` with FastAPI Users in a separate process."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from servers.process import Process, serve
from site_under_test import COOKIE, Site

pytest.importorskip("fastapi_users")

KEY, SHORT = secrets.token_urlsafe(48), 2
ME, LOGIN, LOGOUT = "/users/me", "/auth/jwt/login", "/auth/jwt/logout"
NONE = "\N{EN DASH}"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("fastapi")
    with serve("fastapi_users_app.py", folder, SIGNING_KEY=KEY) as running:
        yield running


@pytest.fixture
def fastapi(process: Process) -> Process:
    """Reset the FastAPI process to its initial state, and return the process."""
    process.set(access=300, active={"alice": True, "bob": True}, instead={})
    return process


def site_at(url: str) -> Site:
    return Site(
        url,
        backend__preset="fastapi-users",
        backend__verify=f"secret:{KEY}",
        backend__audience="fastapi-users:auth",
        claims__roles="is_superuser && ['admin']",
    )


@pytest.fixture
def site(fastapi: Process) -> Site:
    return site_at(fastapi.url)


def sign_in(site: Site, name: str = "alice", password: str = "", **options: Any) -> Any:
    return site.sign_in(f"{name}@example.com", password or f"{name}-password", **options)


def shown(site: Site, **options: Any) -> dict[str, str]:
    html = site.get("/account", headers={"Accept": "text/html"}, status=200, **options).html
    return {name: html.find(id=name).text.strip() for name in ("user-id", "email", "name", "roles")}


def status_of_me(fastapi: Process, access: str) -> int:
    headers = {"Authorization": f"Bearer {access}"}
    return fastapi.request("GET", ME, headers=headers).status_code


def test_a_wrong_password_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "authapp.audit")
    assert "do not match" in sign_in(site, password="wrong", status=401).text
    assert '"event": "SignInFailed"' in caplog.text
    assert '"code": "InvalidCredentials"' in caplog.text
    assert "status 400 LOGIN_BAD_CREDENTIALS" in caplog.text
    assert COOKIE not in site.cookies


def test_an_inactive_user_cannot_sign_in(site: Site, fastapi: Process) -> None:
    fastapi.set(active={"bob": False})
    assert "InvalidCredentials" in sign_in(site, "bob", status=401).text


def test_a_user_with_an_unverified_email_address_cannot_sign_in(fastapi: Process) -> None:
    site = site_at(f"{fastapi.url}/verified")
    assert "AccountIncomplete" in sign_in(site, "bob", status=403).text
    sign_in(site, "alice", status=303)


@pytest.mark.parametrize(("name", "roles"), [("alice", "admin"), ("bob", NONE)])
def test_sign_in_shows_the_identity(site: Site, fastapi: Process, name: str, roles: str) -> None:
    sign_in(site, name, status=303)
    headers = {"Authorization": f"Bearer {site.opened().tokens.access}"}
    user_id = fastapi.request("GET", ME, headers=headers).json()["id"]
    email = f"{name}@example.com"
    assert shown(site) == {"user-id": user_id, "email": email, "name": email, "roles": roles}


def test_the_session_ends_with_its_access_token(site: Site, fastapi: Process) -> None:
    fastapi.set(access=SHORT)
    sign_in(site, status=303)
    validity, cookie = site.opened().validity, site.cookie_header()
    assert validity.refresh_until == validity.valid_until <= time.time() + SHORT
    calls = fastapi.set()["calls"]
    while time.time() <= validity.valid_until:
        time.sleep(0.02)
    answer = site.get("/account", headers={"Accept": "text/html", **cookie}, status=303)
    assert answer.location.endswith("/login?next=%2Faccount&reason=RefreshTokenExpired")
    after = fastapi.set()["calls"]
    assert (after[LOGIN], after[ME]) == (calls[LOGIN], calls[ME]), (
        "the site did not call the backend"
    )


def test_sign_out_calls_the_backend_but_the_jwt_stays_valid(site: Site, fastapi: Process) -> None:
    sign_in(site)
    access, copy, before = site.opened().tokens.access, site.twin(), fastapi.set()["calls"]
    site.sign_out()
    assert fastapi.set()["calls"][LOGOUT] == before.get(LOGOUT, 0) + 1
    assert copy.get("/session").json["error"] == "SessionRevoked"
    assert status_of_me(fastapi, access) == 200, "a JWT is valid until it expires"


def test_a_gateway_error_at_sign_in_returns_503(site: Site, fastapi: Process) -> None:
    for path in (LOGIN, ME):
        fastapi.set(instead={path: (403, {"message": "Forbidden"})})
        assert "BackendUnavailable" in sign_in(site, status=503).text
