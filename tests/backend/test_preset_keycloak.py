"""Test the preset ``keycloak`` with a stub, which responds as Keycloak's documentation says."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from webob import Response as Answer

from authapp.settings.ini import SettingsError
from eventually import eventually
from servers import Served
from servers.keycloak import CLIENT_ID, CLIENT_SECRET, LOGOUT, REALM, TOKEN, Keycloak
from site_under_test import COOKIE, Site

KEYS = {
    "backend__preset": "keycloak",
    "backend__client_id": CLIENT_ID,
    "backend__client_secret": CLIENT_SECRET,
}


@pytest.fixture
def keycloak() -> Keycloak:
    return Keycloak()


@pytest.fixture
def backend(keycloak: Keycloak) -> Iterator[Served]:
    with Served(keycloak) as served:
        yield served


@pytest.fixture
def site(backend: Served) -> Site:
    return Site(backend.url + REALM, **KEYS)


def page(site: Site, **options: Any) -> Any:
    return site.get("/account", headers={"Accept": "text/html"}, **options)


@pytest.mark.parametrize(
    ("name", "password", "status", "code"),
    [
        ("alice", "wrong", 401, "InvalidCredentials"),
        ("nobody", "x", 401, "InvalidCredentials"),
        ("carol", "", 403, "AccountIncomplete"),
        ("dave", "", 403, "AccountLocked"),
    ],
)
@pytest.mark.parametrize("wrong", [400, 401])
def test_refused_sign_ins(
    site: Site, keycloak: Keycloak, name: str, password: str, status: int, code: str, wrong: int
) -> None:
    keycloak.wrong = wrong
    assert code in site.sign_in(name, password, status=status)
    assert COOKIE not in site.cookies


def test_identity_has_id_email_name_and_roles(backend: Served, site: Site) -> None:
    site.sign_in(status=303)
    identity = site.opened().identity
    assert (identity.id, identity.email, identity.name) == (
        "id of alice",
        "alice@example.com",
        "Alice",
    )
    assert identity.roles == ("admin", "offline_access")
    assert identity.scopes == ("email", "profile")
    both = '[realm_access.roles, resource_access."my.app".roles][]'
    site = Site(backend.url + REALM, **KEYS, claims__roles=both)
    site.sign_in(status=303)
    assert site.opened().identity.roles == ("admin", "offline_access", "Support admin")


def test_three_renewals_in_a_row_use_each_refresh_token_once(site: Site, backend: Served) -> None:
    site.sign_in()
    for number in range(1, 4):
        with time_machine.travel(time.time() + number * 301):
            page(site, status=200)
    forms = [each.POST.get("refresh_token") for each in backend.requests if each.path == TOKEN]
    spent = [each for each in forms if each]
    assert len(spent) == len(set(spent)) == 3


def test_a_disabled_users_session_ends(site: Site, keycloak: Keycloak) -> None:
    site.sign_in()
    keycloak.disabled.add("alice")
    with time_machine.travel(time.time() + 301):
        assert page(site, status=303).location.endswith("reason=RefreshTokenRejected")


def test_sign_out_ends_the_session_at_keycloak(
    site: Site, keycloak: Keycloak, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    site.sign_in()
    assert len(keycloak.current) == 1
    site.sign_out()
    assert keycloak.current == {}
    assert backend.calls[LOGOUT] == 1
    assert "did not revoke" not in caplog.text


@pytest.mark.parametrize("status", [401, 403])
def test_an_answer_of_a_gateway_keeps_the_session(site: Site, backend: Served, status: int) -> None:
    site.sign_in()
    backend.instead[TOKEN] = Answer(status=status, json_body={"message": "Forbidden"})
    with time_machine.travel(time.time() + 301):
        page(site, status=503)
        del backend.instead[TOKEN]
        eventually(lambda: page(site, status="*").status_int == 200)


def test_client_that_signs_assertions(backend: Served, keycloak: Keycloak, tmp_path: Path) -> None:
    """With ``backend.client_key``, authapp signs a new JWT for each request, instead of sending a
    secret (RFC 7523)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    keycloak.client_key = key.public_key()
    keycloak.url = backend.url
    keys = {"backend__preset": "keycloak", "backend__client_id": CLIENT_ID}
    site = Site(backend.url + REALM, **keys, backend__client_key=f"file:{tmp_path / 'key.pem'}")
    site.sign_in(status=303)
    with time_machine.travel(time.time() + 301):
        page(site, status=200)
    site.sign_out()
    assert keycloak.current == {}
    assertions = [each.POST["client_assertion"] for each in backend.requests]
    assert len(set(assertions)) == 3
    with pytest.raises(SettingsError) as error:
        Site(backend.url + REALM, **keys, backend__client_key="-----BEGIN secret")
    assert "must be a private key" in str(error.value)
    assert "BEGIN" not in str(error.value)
    with pytest.raises(SettingsError, match=r"needs authapp\.backend\.client_key"):
        Site(backend.url + REALM, **keys, backend__client_auth="private_key_jwt")


def test_wrong_client_secret_is_named_in_the_log(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**KEYS, "backend__client_secret": "wrong secret"}
    site = Site(backend.url + REALM, **wrong, backend__client_auth="post")
    site.sign_in(status=503)
    assert "error='unauthorized_client'" in caplog.text
    assert "wrong secret" not in caplog.text
