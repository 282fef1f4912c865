"""Sign-in with a provider: what the site asks of the provider, and the session that begins."""

import json
import time
from typing import Any
from urllib.parse import parse_qs

import pytest
from pyramid.config import Configurator
from webob import Response as Answer

from oidc.conftest import Browser, browser, later, oidc_settings
from servers import Served
from servers.oidc import CLIENT_ID, CLIENT_SECRET, Provider
from site_under_test import Site, add_view


def test_a_sign_in_makes_a_session_and_returns_to_next(site: Browser) -> None:
    response = site.enter("/account")
    assert (response.status_int, response.location) == (303, "/account")
    user = site.get("/session").json["user"]
    assert user == {"id": "u-alice", "email": "alice@example.com", "roles": ["admin"]}
    assert "alice@example.com" in site.get("/account")
    assert site.transactions() == []


def test_the_request_has_pkce_state_and_nonce(site: Browser, provider: Provider) -> None:
    site.enter("/login/oidc?next=/account&scope=evil&prompt=none&client_id=other")
    (given,) = map(parse_qs, provider.authorizations)
    assert set(given) == {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    }
    assert given["client_id"] == [CLIENT_ID]
    assert given["redirect_uri"] == ["http://localhost/login/oidc/callback"]
    assert given["scope"] == ["openid profile email offline_access"]
    assert given["code_challenge_method"] == ["S256"]
    assert all(len(given[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))


def test_the_settings_add_parameters(served: Served, provider: Provider) -> None:
    more = {"oidc__prompt": "login", "oidc__max_age": "60", "oidc__acr_values": "a b"}
    more["oidc__scope"] = "openid  api"
    site = browser(served, **more)
    site.enter(status=303)
    given = parse_qs(provider.authorizations[0])
    assert (given["prompt"], given["max_age"], given["acr_values"]) == (["login"], ["60"], ["a b"])
    assert given["scope"] == ["openid api"]


@pytest.mark.servers
def test_an_application_without_an_issuer_imports_none_of_it(backend: Served) -> None:
    import subprocess
    import sys

    program = (
        "import sys, authapp; from site_under_test import settings;"
        "authapp.main({}, **settings('http://backend.invalid'));"
        "assert not [name for name in sys.modules if name.startswith('authapp.oidc')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd="tests")
    assert Site(backend.url).get("/login/oidc", status=404)


def test_the_audit_log_has_each_sign_in(
    site: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "authapp.audit")
    site.enter(status=303)
    provider.id_claims = {"nonce": "wrong"}
    site.other().enter(status=503)
    lines = [
        json.loads(record.message) for record in caplog.records if record.name.endswith("audit")
    ]
    assert [line["event"] for line in lines] == ["SignedIn", "SignInFailed"]
    assert lines[1]["reason"] == "the ID token: nonce is not that of this sign-in"


def test_no_token_code_or_secret_is_in_the_log(
    site: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site.enter(status=303)
    tokens = site.opened().tokens
    provider.callback = {"code": "the-wrong-code-of-a-stranger"}
    site.enter()
    with later(901):
        site.get("/session")
    site.sign_out()
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("authapp"))
    for secret in (tokens.access, tokens.refresh, CLIENT_SECRET, "the-wrong-code-of-a-stranger"):
        assert secret not in ours
        assert secret not in repr(site.opened) + repr(tokens)


def test_a_sign_in_as_another_user_replaces_the_session(site: Browser, provider: Provider) -> None:
    site.enter()
    before = site.twin()
    provider.user = "bob"
    site.enter()
    assert site.get("/session").json["user"]["id"] == "u-bob"
    assert before.get("/session").json["user"] is None


def test_an_ended_session_does_not_stop_the_sign_in(site: Browser) -> None:
    site.enter()
    with later(30 * 86_400):
        assert site.get("/account", status=303).location.startswith("/login?")
        assert site.get(site.begin("/login/oidc?next=/account")).location == "/account"
        assert "alice@example.com" in site.get("/account")


def test_the_backends_api_gets_the_access_token_of_the_provider(
    served: Served, provider: Provider
) -> None:
    def api(environ: Any, start_response: Any) -> Any:
        return Answer(environ.get("HTTP_AUTHORIZATION", ""))(environ, start_response)

    with Served(api) as server:
        ini = oidc_settings(served.url, backend__url=server.url, login__methods="oidc")
        with Configurator(settings=ini) as config:
            config.include("authapp")
            add_view(config, lambda request: request.backend.get("/").text)
            site = Browser(wsgi=config.make_wsgi_app())
        site.enter()
        assert site.get("/view").json == f"Bearer {site.opened().tokens.access}"


def test_a_view_that_needs_a_recent_sign_in_asks_the_provider_for_one(
    served: Served, provider: Provider
) -> None:
    with Configurator(settings=oidc_settings(served.url, oidc__prompt="consent")) as config:
        config.include("authapp")
        add_view(config, lambda request: request.identity.id, recent_auth=300)
        site = Browser(wsgi=config.make_wsgi_app())
    site.enter()
    assert site.get("/view").json == "u-alice"
    before = site.opened()
    with later(400):
        assert site.get(site.begin("/view")).location == "/view"
        assert site.get("/view").json == "u-alice"
    given = parse_qs(provider.authorizations[-1])
    assert (given["prompt"], given["max_age"]) == (["login consent"], ["300"])
    assert site.opened().sid == before.sid, "the session goes on"
    with later(800):
        site.enter("/view")
        provider.auth_time = 1
    with later(1200):
        site.enter("/view", status=503)


@pytest.mark.parametrize("auth_time", [None, 400, "now"])
def test_a_sign_in_without_asking_the_user_is_not_recent(
    served: Served, provider: Provider, auth_time: object
) -> None:
    """A view needs a sign-in that is at most 300 seconds old. A sign-in is not recent enough if
    ``auth_time`` is missing, is not a number, or lies 400 seconds in the past."""
    auth_time = int(time.time()) - auth_time if isinstance(auth_time, int) else auth_time
    with Configurator(settings=oidc_settings(served.url)) as config:
        config.include("authapp")
        add_view(config, lambda request: request.identity.id, recent_auth=300)
        site = Browser(wsgi=config.make_wsgi_app())
    provider.id_claims = {"auth_time": auth_time}
    site.enter()
    assert site.get("/view", status=303).location == "/login?next=%2Fview&max_age=300"
    provider.id_claims = {"auth_time": int(time.time())}
    site.enter("/view")
    assert site.get("/view").json == "u-alice"
