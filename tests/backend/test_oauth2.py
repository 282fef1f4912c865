"""Test authapp with an OAuth2 server as its backend: RFC 6749 sections 4.3 and 6, RFC 7009."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import time_machine
from pyramid.authorization import Allow
from pyramid.config import Configurator
from pyramid.response import Response

from eventually import eventually
from servers import Served, Servers
from servers.oauth2 import CLIENT_ID, CLIENT_SECRET, ISSUER, KEY, REVOKE, TOKEN, OAuth2
from site_under_test import COOKIE, Site, settings

ACCESS, REFRESH = 300, 1800
DUE, EXPIRED, ENDED = ACCESS - 50, ACCESS + 1, REFRESH + 1

OAUTH2 = {
    "backend__preset": "oauth2",
    "backend__client_id": CLIENT_ID,
    "backend__client_secret": CLIENT_SECRET,
    "backend__verify": f"secret:{KEY}",
    "backend__issuer": ISSUER,
    "backend__audience": CLIENT_ID,
    "claims__roles": "realm_access.roles",
}

# The server runs in threads of this process, so time_machine moves its clock too.
later: Callable[[float], Any] = lambda seconds: time_machine.travel(time.time() + seconds)  # noqa: E731


@pytest.fixture
def oauth2() -> OAuth2:
    return OAuth2(ACCESS, REFRESH)


@pytest.fixture
def backend(servers: Servers, oauth2: OAuth2) -> Iterator[Served]:
    with servers.serve(oauth2) as served:
        yield served


@pytest.fixture
def site(backend: Served) -> Site:
    return Site(backend.url, **OAUTH2)


def page(site: Site, path: str = "/account", **options: Any) -> Any:
    return site.get(path, headers={"Accept": "text/html"}, **options)


def use_refresh_token(backend: Served, refresh: str) -> requests.Response:
    """Spend a refresh token at the server directly, as another program with the same client
    secret."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    client = (CLIENT_ID, CLIENT_SECRET)
    with requests.Session() as http:
        http.trust_env = False
        return http.post(backend.url + TOKEN, form, auth=client, timeout=5)


def test_sign_in_shows_the_identity_from_the_token(site: Site, backend: Served) -> None:
    site.sign_in("alice", status=303)
    account = page(site, status=200)
    for element, text in {
        "name": "Alice",
        "user-id": "id-of-alice",
        "email": "alice@example.com",
        "roles": "admin",
        "scopes": "openid profile",
    }.items():
        assert " ".join(account.html.find(id=element).text.split()) == text
    assert site.get("/session").json["user"] == {
        "id": "id-of-alice",
        "email": "alice@example.com",
        "roles": ["admin"],
    }
    assert dict(backend.requests[-1].POST) == {
        "grant_type": "password",
        "username": "alice",
        "password": "alice-password",
    }


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("mallory", "x")])
def test_wrong_credentials_are_refused(
    site: Site, oauth2: OAuth2, name: str, password: str
) -> None:
    assert "InvalidCredentials" in site.sign_in(name, password, status=401).text
    assert COOKIE not in site.cookies
    assert oauth2.live == {}


def test_a_client_secret_with_special_characters_is_sent_correctly(
    backend: Served, oauth2: OAuth2
) -> None:
    oauth2.client_secret = "gehe:im %2B+/ü€"
    site = Site(backend.url, **OAUTH2 | {"backend__client_secret": oauth2.client_secret})
    site.sign_in(status=303)


def test_a_wrong_client_secret_returns_503(backend: Served) -> None:
    site = Site(backend.url, **OAUTH2 | {"backend__client_secret": "wrong"})
    assert "BackendUnavailable" in site.sign_in(status=503).text


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend__verify": "secret:another-key-than-that-of-the-server"},
        {"backend__issuer": "https://other.example"},
        {"backend__audience": "other"},
    ],
)
def test_sign_in_fails_when_the_token_cannot_be_verified(
    backend: Served, wrong: dict[str, str]
) -> None:
    site = Site(backend.url, **OAUTH2 | wrong)
    assert "BackendUnavailable" in site.sign_in(status=503).text
    assert COOKIE not in site.cookies


def test_scopes_are_principals(backend: Served) -> None:
    class Root:
        __acl__ = ((Allow, "scope:profile", "read"), (Allow, "scope:write", "write"))

        def __init__(self, request: object) -> None: ...

    def application(**more: str) -> Site:
        with Configurator(settings=settings(backend.url, **OAUTH2, **more)) as config:
            config.include("authapp")
            config.set_root_factory(Root)
            for permission in ("read", "write"):
                config.add_route(permission, f"/{permission}")
                config.add_view(
                    lambda request: Response("done"), route_name=permission, permission=permission
                )
            site = Site(wsgi=config.make_wsgi_app())
        site.sign_in()
        return site

    asked_for_nothing = application()
    page(asked_for_nothing, "/read", status=200)
    page(asked_for_nothing, "/write", status=403)
    asked_for_more = application(backend__scope="profile write")
    page(asked_for_more, "/read", status=200)
    with later(EXPIRED):
        page(asked_for_more, "/write", status=200)


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_renewal_uses_an_opaque_refresh_token_once(
    site: Site, backend: Served, oauth2: OAuth2, seconds: float
) -> None:
    site.sign_in()
    before = site.opened()
    with later(seconds):
        assert "alice@example.com" in page(site, status=200).text
        after = site.opened()
        assert list(oauth2.live) == [after.tokens.refresh]
        assert after.tokens.refresh != before.tokens.refresh
        assert after.validity.valid_until >= before.validity.valid_until + seconds
        assert after.identity.scopes == ("openid", "profile")
        assert use_refresh_token(backend, before.tokens.refresh).json() == {
            "error": "invalid_grant"
        }
    assert after.sid == before.sid
    assert backend.calls[TOKEN] == 3, "one sign-in, one renewal, and the request of this test"
    assert dict(backend.requests[1].POST) == {
        "grant_type": "refresh_token",
        "refresh_token": before.tokens.refresh,
    }


def test_roles_removed_at_the_server_are_gone_after_the_next_renewal(
    site: Site, oauth2: OAuth2
) -> None:
    site.sign_in()
    page(site, "/admin", status=200)
    oauth2.roles["alice"] = []
    with later(EXPIRED):
        page(site, "/admin", status=403)


def test_refresh_expires_in_sets_the_end_of_the_session(site: Site, backend: Served) -> None:
    began = int(time.time())
    site.sign_in()
    assert began + REFRESH <= site.opened().validity.refresh_until <= time.time() + REFRESH
    with later(EXPIRED):
        renewed = int(time.time())
        page(site, status=200)
        assert renewed + REFRESH <= site.opened().validity.refresh_until <= time.time() + REFRESH
        old_cookie = site.cookie_header()
    with later(EXPIRED + ENDED):
        answer = site.get("/account", headers=old_cookie, status=303)
        assert answer.location.endswith("/login?next=%2Faccount&reason=RefreshTokenExpired")
        assert COOKIE not in site.cookies
    assert backend.calls[TOKEN] == 2, "the site did not call the server"


def test_the_refresh_lifetime_setting_applies_without_refresh_expires_in(
    backend: Served, oauth2: OAuth2
) -> None:
    oauth2.names_refresh_expiry, lifetime = False, 1000
    site = Site(backend.url, refresh__lifetime=str(lifetime), **OAUTH2)
    began = int(time.time())
    site.sign_in()
    assert began + lifetime <= site.opened().validity.refresh_until <= time.time() + lifetime
    with later(EXPIRED):
        renewed = int(time.time())
        page(site, status=200)
        assert renewed + lifetime <= site.opened().validity.refresh_until <= time.time() + lifetime
        old_cookie = site.cookie_header()
    with later(EXPIRED + lifetime + 1):
        answer = site.get("/account", headers=old_cookie, status=303)
        assert "reason=RefreshTokenExpired" in answer.location


@pytest.mark.parametrize("seconds", [DUE, EXPIRED])
def test_invalid_grant_ends_the_session(site: Site, oauth2: OAuth2, seconds: float) -> None:
    site.sign_in()
    oauth2.live.clear()
    with later(seconds):
        answer = page(site, "/account?tab=1", status=303)
        assert answer.location.endswith(
            "/login?next=%2Faccount%3Ftab%3D1&reason=RefreshTokenRejected"
        )
        assert COOKIE not in site.cookies
        assert "The sign-in service has ended your session." in answer.follow().text


def test_a_refresh_token_that_expires_first_at_the_server_ends_the_session(
    backend: Served, oauth2: OAuth2
) -> None:
    """The server does not say how long a refresh token lasts. The token expires before the
    end of ``refresh.lifetime``. So the session ends when the server rejects the token."""
    oauth2.names_refresh_expiry = False
    site = Site(backend.url, **OAUTH2)
    site.sign_in()
    with later(ENDED):
        assert "reason=RefreshTokenRejected" in page(site, status=303).location


@pytest.mark.parametrize("challenges", [True, False])
def test_invalid_client_keeps_the_session(site: Site, oauth2: OAuth2, challenges: bool) -> None:
    oauth2.challenges = challenges
    site.sign_in()
    held, right = site.token(), oauth2.client_secret
    oauth2.client_secret = "changed, and nobody told the site"
    with later(DUE):
        page(site, status=200)
    with later(EXPIRED):
        unavailable = page(site, status=503)
        assert "BackendUnavailable" in unavailable.text
        assert int(unavailable.headers["Retry-After"]) >= 1
        assert "check your sign-in right now" in page(site, "/", status=200).text
        assert site.token() == held
        oauth2.client_secret = right

        def is_renewed() -> bool:
            answer = page(site, expect_errors=True)
            assert answer.status_int in (200, 503)
            return answer.status_int == 200

        eventually(is_renewed, 5)
        assert site.token() != held


def test_sign_out_revokes_the_refresh_token(site: Site, backend: Served, oauth2: OAuth2) -> None:
    site.sign_in()
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    refresh = site.opened().tokens.refresh
    site.sign_out()
    assert backend.calls[REVOKE] == 1
    assert dict(backend.requests[-1].POST) == {"token": refresh, "token_type_hint": "refresh_token"}
    assert oauth2.live == {}
    assert use_refresh_token(backend, refresh).json() == {"error": "invalid_grant"}


def test_sign_out_with_an_older_cookie_revokes_the_newest_token(site: Site, oauth2: OAuth2) -> None:
    site.sign_in()
    older = site.twin()
    site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    older.sign_out()
    assert oauth2.live == {}
    assert site.get("/session").json["error"] == "SessionRevoked"
