"""Renewal and end of sessions that began at a provider, and what authapp reads from the tokens."""

import time
from typing import Any

import pytest
import time_machine
from webob import Response as Answer

from eventually import eventually
from oidc.conftest import Browser, browser, later
from servers import Served
from servers.oidc import Provider
from site_under_test import COOKIE


def user_of(site: Browser) -> Any:
    return site.get("/session").json["user"]


def test_an_expired_session_is_renewed(site: Browser, served: Served, provider: Provider) -> None:
    site.enter()
    spent = set(provider.live)
    with later(901):
        assert user_of(site)["id"] == "u-alice"
        assert user_of(site)["id"] == "u-alice"
    assert provider.forms[-1]["grant_type"] == "refresh_token"
    assert served.calls["/token"] == 2
    assert not spent & set(provider.live)


def test_no_cookie_and_no_answer_goes_beyond_the_absolute_end(served: Served) -> None:
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        site = browser(served, session__absolute="600")
        cookies = site.enter(status=303).headers.getall("Set-Cookie")
        (session,) = (each for each in cookies if each.startswith(f"{COOKIE}="))
        assert "Max-Age=600" in session
        until = site.get("/session").json["validity"]["refresh_until"]
        assert until == 1_900_000_600
        clock.shift(60)
        renewed = site.post("/session", headers={"X-CSRF-Token": site.csrf()})
        assert renewed.json["validity"]["refresh_until"] == until
        (session,) = renewed.headers.getall("Set-Cookie")
        assert "Max-Age=540" in session


@pytest.mark.parametrize("with_id_token", [True, False])
def test_a_renewal_keeps_what_the_last_id_token_said(
    site: Browser, provider: Provider, with_id_token: bool
) -> None:
    provider.renews_id_token = with_id_token
    provider.id_claims = {"department": "sales"}
    site.enter()
    for times in (1, 2):
        with later(901 * times):
            user_of(site)
        assert site.opened().identity.claims["department"] == "sales"
        assert site.opened().tokens.id_claims["sid"] == provider.sid
        assert site.opened().identity.name == "Alice"


def test_roles_of_the_access_token_shrink_at_a_renewal(site: Browser, provider: Provider) -> None:
    site.enter()
    assert user_of(site)["roles"] == ["admin"]
    provider.access_claims = {"roles": ["reader"]}
    with later(901):
        assert user_of(site)["roles"] == ["reader"]


def test_the_id_token_is_above_userinfo_and_that_above_the_access_token(
    served: Served, provider: Provider
) -> None:
    names = {f"claims__{name}": name for name in ("email", "name")}
    site = browser(served, **names, claims__roles="groups")
    provider.access_claims = {"name": "access", "email": "access", "groups": ["access"]}
    provider.userinfo = {"name": "userinfo", "email": "userinfo"}
    provider.id_claims = {"name": "id", "email": None}
    site.enter()
    identity = site.opened().identity
    assert (identity.name, identity.email, identity.roles) == ("id", "userinfo", ("access",))


def test_without_a_new_id_token_userinfo_and_access_token_decide_again(
    site: Browser, provider: Provider
) -> None:
    provider.renews_id_token = False
    provider.id_claims = {"roles": ["admin"], "email": "old@example.com", "kept": 1}
    site.enter()
    sid = site.opened().identity.claims["sid"]
    provider.access_claims = {"roles": ["reader"], "sub": "another-sub-for-the-api"}
    provider.userinfo = {"email": "new@example.com", "sid": "another-sid"}
    with later(901):
        assert user_of(site) == {"id": "u-alice", "email": "new@example.com", "roles": ["reader"]}
    assert site.opened().identity.claims["kept"] == 1
    assert site.opened().identity.claims["sid"] == sid, "only an ID token says this"


def test_an_opaque_access_token_ends_after_expires_in(site: Browser, provider: Provider) -> None:
    provider.opaque = True
    site.enter()
    validity = site.get("/session").json["validity"]
    assert abs(validity["valid_until"] - time.time() - 900) < 5
    with later(901):
        assert user_of(site)["id"] == "u-alice"


@pytest.mark.parametrize("status", [401, 500])
def test_userinfo_that_fails_refuses_no_sign_in_and_no_renewal(
    site: Browser, served: Served, status: int
) -> None:
    served.instead["/me"] = Answer(status=status)
    site.enter(status=303)
    with later(901):
        assert user_of(site)["email"] == "alice@example.com"


def test_log_lines_of_a_renewal_contain_the_id_of_the_request(
    site: Browser, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """A renewal calls the provider in a separate thread. The log lines of this thread contain the
    id of the request too."""
    site.enter(status=303)
    served.instead["/me"] = Answer(status=500)
    with later(901):
        site.get("/session", headers={"X-Request-ID": "one-of-a-proxy"})
    (line,) = (each for each in caplog.messages if each.startswith("UserinfoUnavailable"))
    assert line.endswith(" [request one-of-a-proxy]")


def test_userinfo_of_another_user_is_not_used(site: Browser, provider: Provider) -> None:
    provider.userinfo = {"sub": "u-bob", "department": "evil"}
    site.enter(status=303)
    assert "department" not in site.opened().identity.claims


def test_userinfo_can_be_switched_off(served: Served) -> None:
    site = browser(served, oidc__userinfo="false")
    site.enter(status=303)
    with later(901):
        user_of(site)
    assert served.calls["/me"] == 0


def test_a_refused_refresh_token_ends_the_session(site: Browser, provider: Provider) -> None:
    site.enter()
    provider.live.clear()
    with later(901):
        response = site.get("/account", status=303)
    assert response.location.startswith("/login?")
    assert "reason=RefreshTokenRejected" in response.location


@pytest.mark.parametrize(
    "response",
    [
        Answer(status=503),
        Answer(status=403, json_body={"error": "access_denied"}),
        Answer(status=401, json_body={"error": "invalid_client"}),
        Answer("<html>"),
        Answer(json_body={}),
        Answer(status=400, json_body={"error": ["invalid_grant"]}),
    ],
)
def test_any_other_answer_signs_nobody_out(site: Browser, served: Served, response: Answer) -> None:
    site.enter()
    served.instead["/token"] = response
    with later(901):
        assert site.get("/session").json["error"] == "BackendUnavailable"
        del served.instead["/token"]
        eventually(lambda: user_of(site))


def test_a_renewal_whose_id_token_is_wrong_keeps_the_new_refresh_token(
    site: Browser, provider: Provider
) -> None:
    site.enter()
    provider.id_claims = {"iss": "https://evil.example"}
    with later(901):
        assert site.get("/session").json["error"] == "BackendUnavailable"
    provider.id_claims = {}
    with later(901):
        eventually(lambda: user_of(site))


def test_a_renewal_without_an_access_token_keeps_the_new_refresh_token(
    site: Browser, provider: Provider
) -> None:
    site.enter()
    provider.answer = {"access_token": None}
    with later(901):
        assert site.get("/session").json["error"] == "BackendUnavailable"
    provider.answer = {}
    with later(901):
        eventually(lambda: user_of(site))


def test_another_users_id_token_ends_the_session(site: Browser, provider: Provider) -> None:
    site.enter()
    provider.id_claims = {"sub": "u-bob"}
    with later(901):
        assert user_of(site) is None
    assert site.get("/session").json["user"] is None


def test_a_refresh_token_that_is_not_rotated_is_kept(site: Browser, provider: Provider) -> None:
    site.enter()
    (refresh,) = provider.live
    grant = provider.live[refresh]
    provider.answer = {"refresh_token": None}
    with later(901):
        assert user_of(site)["id"] == "u-alice"
    assert site.opened().tokens.refresh == refresh
    provider.live[refresh] = grant
    with later(1900):
        assert user_of(site)["id"] == "u-alice"


def test_without_a_refresh_token_the_session_ends_with_the_access_token(
    site: Browser, served: Served, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answer = {"refresh_token": None}
    site.enter(status=303)
    assert "add offline_access to authapp.oidc.scope" in caplog.text
    with later(890):
        assert user_of(site)["id"] == "u-alice"
    with later(901):
        assert user_of(site) is None
    assert served.calls["/token"] == 1


def test_a_token_is_never_sent_to_another_issuer(site: Browser, served: Served) -> None:
    site.enter()
    with Served(second := Provider()) as other:
        second.url = other.url
        moved = browser(other)
        for cookie in site.cookiejar:
            moved.cookiejar.set_cookie(cookie)
        assert user_of(moved)["id"] == "u-alice"
        with later(901):
            assert user_of(moved) is None
        assert other.calls["/token"] == 0
    assert served.calls["/token"] == 1


def test_the_backend_may_be_down_while_the_provider_renews(served: Served, backend: Served) -> None:
    site = browser(served, backend__url=backend.url)
    site.enter()
    person = site.other()
    person.sign_in("bob")
    backend.instead["/api/token/refresh/"] = Answer(status=503)
    with later(901):
        assert person.get("/session").json["error"] == "BackendUnavailable"
        assert user_of(site)["id"] == "u-alice"


def test_the_metadata_is_read_once_and_kept_while_the_provider_is_down(
    site: Browser, served: Served
) -> None:
    site.enter()
    site.enter()
    assert served.calls["/.well-known/openid-configuration"] == 1


@pytest.mark.parametrize("auth", ["basic", "post", "none", "private_key_jwt"])
def test_each_way_to_prove_who_the_client_is(
    served: Served, provider: Provider, auth: str, tmp_path: Any
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from servers.oidc import CLIENT_SECRET, KEY

    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    secret = CLIENT_SECRET if auth in ("basic", "post") else ""
    key = f"file:{tmp_path / 'key.pem'}" if auth == "private_key_jwt" else ""
    site = browser(served, oidc__client_auth=auth, oidc__client_secret=secret, oidc__client_key=key)
    site.enter(status=303)
    with later(901):
        assert user_of(site)["id"] == "u-alice"
    sent = [set(form) & {"client_secret", "client_assertion"} for form in provider.forms]
    names = {"post": {"client_secret"}, "private_key_jwt": {"client_assertion"}}
    assert sent == [names.get(auth, set())] * 2


def test_a_wrong_secret_is_one_clear_line(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    site = browser(served, oidc__client_secret="wrong")
    site.enter(status=503)
    assert "invalid_client" in caplog.text
    assert "see authapp.oidc.client_id" in caplog.text
