"""Test the preset ``flask-jwt-extended`` with Flask-JWT-Extended in a separate process."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine

from eventually import eventually
from servers.process import Process, serve
from site_under_test import COOKIE, Site

pytest.importorskip("flask_jwt_extended")

KEY, SHORT = secrets.token_urlsafe(48), 2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("flask")
    with serve("flask_jwt_extended_app.py", folder, SIGNING_KEY=KEY) as running:
        yield running


@pytest.fixture
def flask(process: Process) -> Process:
    """Reset the Flask process to its initial state, and return the process."""
    process.set(access=300, refresh=3600, active={"alice": True, "bob": True}, key=KEY, instead={})
    return process


@pytest.fixture
def site(flask: Process) -> Site:
    return Site(flask.url, backend__preset="flask-jwt-extended", backend__verify=f"secret:{KEY}")


def status_of_refresh(flask: Process, refresh: str) -> int:
    """Send a refresh token to Flask directly. Return the status code."""
    headers = {"Authorization": f"Bearer {refresh}"}
    return flask.request("POST", "/refresh", headers=headers).status_code


def renew_now(site: Site, **options: Any) -> Any:
    headers = {"X-CSRF-Token": site.csrf(), "Accept": "application/json"}
    return site.post("/session", headers=headers, **options)


def wait_until_expired(site: Site) -> None:
    end = site.opened().validity.valid_until
    while time.time() <= end:
        time.sleep(0.02)


def shown(site: Site) -> dict[str, str]:
    html = site.get("/account", headers={"Accept": "text/html"}, status=200).html
    return {name: html.find(id=name).text.strip() for name in ("user-id", "email", "name", "roles")}


ALICE = {"user-id": "1", "email": "alice@example.com", "name": "alice", "roles": "admin"}


def test_a_wrong_password_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "authapp.audit")
    assert "do not match" in site.sign_in("alice", "wrong", status=401).text
    assert '"event": "SignInFailed"' in caplog.text
    assert '"code": "InvalidCredentials"' in caplog.text
    assert "status 401 Bad username or password" in caplog.text
    assert COOKIE not in site.cookies


def test_a_wrong_password_is_refused_with_the_other_documented_text(
    site: Site, flask: Process
) -> None:
    flask.set(instead={"/login": (401, "Wrong username or password")})
    assert "InvalidCredentials" in site.sign_in(status=401).text


def test_three_renewals_in_a_row_keep_the_refresh_token(site: Site, flask: Process) -> None:
    flask.set(access=SHORT)
    site.sign_in(status=303)
    first, before = site.opened(), flask.set()["calls"].get("/refresh", 0)
    for times in range(1, 4):
        access = site.opened().tokens.access
        wait_until_expired(site)
        assert shown(site) == ALICE
        assert site.opened().tokens.access != access
        assert flask.set()["calls"]["/refresh"] == before + times
    assert site.opened().tokens.refresh == first.tokens.refresh, (
        "Flask never changes the refresh token"
    )
    assert site.opened().validity.refresh_until == first.validity.refresh_until


@pytest.mark.parametrize("orders", [{"active": {"bob": False}}, {"key": secrets.token_urlsafe(48)}])
def test_a_refused_refresh_token_ends_the_session(
    site: Site, flask: Process, orders: dict[str, Any]
) -> None:
    """If the user is inactive or the signing key has changed, Flask refuses the refresh token, and
    the session ends."""
    site.sign_in("bob", status=303)
    flask.set(**orders)
    assert renew_now(site, status=401).json["code"] == "RefreshTokenRejected"
    assert COOKIE not in site.cookies


def test_sign_out_revokes_the_refresh_token(site: Site, flask: Process) -> None:
    site.sign_in()
    refresh, copy, revoked = site.opened().tokens.refresh, site.twin(), flask.set()["revoked"]
    assert status_of_refresh(flask, refresh) == 200
    site.sign_out()
    assert flask.set()["revoked"] == revoked + 1
    assert status_of_refresh(flask, refresh) == 401
    assert copy.get("/session").json["error"] == "SessionRevoked"


def test_a_refresh_token_revoked_elsewhere_ends_the_session(site: Site, flask: Process) -> None:
    site.sign_in()
    headers = {"Authorization": f"Bearer {site.opened().tokens.refresh}"}
    assert flask.request("DELETE", "/logout", headers=headers).ok
    assert renew_now(site, status=401).json["code"] == "RefreshTokenRejected"


@pytest.mark.parametrize(
    "answer",
    [(403, {"message": "Forbidden"}), (401, {"msg": "Missing Authorization Header"})],
)
def test_a_gateway_error_keeps_the_session(site: Site, flask: Process, answer: Any) -> None:
    site.sign_in()
    before, expired = site.opened(), time.time() + 301
    flask.set(instead={"/refresh": answer})
    with time_machine.travel(expired):
        page = site.get("/account", headers={"Accept": "text/html"}, status=503)
        assert "BackendUnavailable" in page.text
        assert site.opened() == before
    flask.set(instead={})
    with time_machine.travel(expired + 5):
        # A failed renewal is not tried again for one second.
        eventually(lambda: site.get("/session").json["user"] is not None)
        assert shown(site) == ALICE
        assert site.opened().tokens.access != before.tokens.access
