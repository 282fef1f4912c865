"""``authapp.testing`` signs users in without a backend and without a form."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pyramid import testing
from pyramid.config import Configurator
from pyramid.renderers import render
from pyramid.request import Request, apply_request_extensions

from authapp import SettingsError, TokenPair
from authapp.session.cookies import SessionTooLarge
from authapp.testing import make_session, playwright_cookies, session_of, sign_in
from servers import Served
from site_under_test import Site, add_view, application, application_with_view, settings

NOWHERE = "http://backend.invalid"

PHASES = ["fresh", "due", "expired", "ended"]


def show(request: Request) -> dict[str, Any]:
    user = request.identity
    return {
        "id": user and user.id,
        "email": user and user.email,
        "name": user and user.name,
        "roles": user and user.roles,
        "scopes": user and user.scopes,
        "claims": user and user.claims,
        "phase": request.authapp.phase and request.authapp.phase.value,
        "error": request.session_error,
    }


def shown(**keys: str) -> Site:
    return application_with_view(NOWHERE, show, **keys)


@pytest.fixture(scope="module")
def site() -> Site:
    return shown()


@pytest.fixture(autouse=True)
def signed_out(site: Site) -> None:
    site.reset()


def test_a_webtest_application_is_signed_in_as_anybody(site: Site) -> None:
    session = sign_in(
        site,
        id="u-7",
        email="alice@example.com",
        name="Alice",
        roles=["admin", "editor"],
        scopes=["read"],
        claims={"tenant": "north"},
    )
    told = site.get("/view").json
    assert told["id"] == "u-7"
    assert told["email"] == "alice@example.com"
    assert told["name"] == "Alice"
    assert told["roles"] == ["admin", "editor"]
    assert told["scopes"] == ["read"]
    assert told["claims"]["tenant"] == "north"
    found = session_of(site)
    assert found is not None
    assert found.identity == session.identity


def test_a_client_forgets_the_user_that_it_had(site: Site) -> None:
    sign_in(site, id=1, claims={"long": "x" * 3000})  # in chunks
    assert len(site.cookies) > 1
    sign_in(site, id=2)
    assert len(site.cookies) == 1
    assert site.get("/view").json["id"] == 2


@pytest.mark.parametrize("phase", PHASES)
def test_the_session_is_in_the_phase_that_the_test_names(site: Site, phase: str) -> None:
    sign_in(site, phase=phase)
    answer = site.get("/session").json
    assert (answer["user"] is not None) is (phase in ("fresh", "due"))
    expired = {"expired": "BackendUnavailable", "ended": "RefreshTokenExpired"}
    assert answer["error"] == expired.get(phase)


def test_a_phase_that_the_settings_do_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"refresh.buffer = 0, no session is ever due"):
        sign_in(shown(refresh__buffer="0"), phase="due")
    with pytest.raises(ValueError, match="is not a valid Phase"):
        sign_in(shown(), phase="stale")


def test_claims_are_read_as_the_settings_say() -> None:
    site = shown(claims__roles="realm.roles", claims__id="uid")
    sign_in(site, id=3, claims={"realm": {"roles": ["clerk"]}, "email": "bob@example.com"})
    told = site.get("/view").json
    assert (told["id"], told["roles"], told["email"]) == (3, ["clerk"], "bob@example.com")


def test_a_test_may_bring_the_tokens_and_the_time_of_sign_in(site: Site) -> None:
    tokens = TokenPair("an access token", "a refresh token")
    session = sign_in(site, tokens=tokens, signed_in=3600)
    found = session_of(site)
    assert found is not None
    assert found.tokens == tokens
    now = site.get("/session").json["now"]
    assert now - 3605 < session.authenticated_at < now - 3595


def test_a_view_that_needs_a_recent_sign_in_sees_when_it_was() -> None:
    site = application(NOWHERE, lambda config: add_view(config, show, recent_auth=300))
    sign_in(site, id=4, signed_in=301)
    site.get("/view", status=303)
    sign_in(site, id=4, signed_in=200)
    assert site.get("/view").json["id"] == 4


def test_a_user_who_signed_out_everywhere_can_be_signed_in_again() -> None:
    site = shown()
    sign_in(site, id=9)
    site.sign_out(everywhere=True)
    sign_in(site, id=9)
    assert site.get("/view").json["id"] == 9


def test_secure_cookies_and_domains_work_over_http() -> None:
    keys = {"authapp.development": "false", "authapp.backend.url": "https://backend.invalid"}
    for more in ({}, {"authapp.session.domain": "example.com"}):
        with Configurator(settings=settings(NOWHERE) | keys | more) as config:
            config.include("authapp")
            add_view(config, show)
            site = Site(wsgi=config.make_wsgi_app())
        site.extra_environ["HTTP_HOST"] = "www.example.com"
        sign_in(site, id=4)
        assert site.get("/view").json["id"] == 4


def test_a_session_that_is_too_large_is_an_error(site: Site) -> None:
    with pytest.raises(SessionTooLarge):
        sign_in(site, claims={"long": "x" * 20_000})


def test_settings_stand_for_an_application_in_another_process(site: Site) -> None:
    ini = settings(NOWHERE)
    with Served(site.app) as served, requests.Session() as http:
        sign_in(http, ini, url=f"{served.url}/some/page", name="Carol")
        assert http.get(f"{served.url}/view", timeout=10).json()["name"] == "Carol"
        found = session_of(http, ini)
        assert found is not None
        assert found.identity.name == "Carol"
    with pytest.raises(SettingsError):
        make_session({"authapp.secret": "short"})


def test_what_is_no_application_and_no_client_is_named(site: Site) -> None:
    with pytest.raises(TypeError, match="object is not a Pyramid application that includes"):
        sign_in(object())
    with pytest.raises(TypeError, match=r"object is not a client that authapp.testing knows"):
        sign_in(object(), site.app)
    with pytest.raises(ValueError, match="url= is missing"):
        sign_in(requests.Session(), site.app)


@pytest.fixture
def config() -> Iterator[tuple[testing.DummyRequest, Configurator]]:
    request = testing.DummyRequest()
    with testing.testConfig(request=request, settings=settings(NOWHERE)) as config:
        config.include("authapp")
        yield request, config


def test_a_dummy_request_renders_the_layout(
    config: tuple[testing.DummyRequest, Configurator],
) -> None:
    request, _ = config
    apply_request_extensions(request)
    page = render("authapp:templates/layout.jinja2", {}, request=request)
    assert "Sign in" in page
    assert '<html lang="en">' in page


def test_a_dummy_request_is_signed_in(config: tuple[testing.DummyRequest, Configurator]) -> None:
    request, _ = config
    assert session_of(request) is None
    sign_in(request, id=5, name="Dora", roles=["admin"])
    assert request.identity.name == "Dora"
    page = render("authapp:templates/layout.jinja2", {}, request=request)
    assert "Dora" in page
    assert "Sign out" in page
    sign_in(request, id=6, name="Emil")
    assert request.identity.name == "Emil"


def test_playwrights_async_api_is_told_what_to_use(site: Site) -> None:
    class Context:
        async def cookies(self, url: str) -> list[Any]:
            raise AssertionError("nothing awaits it")

        async def add_cookies(self, cookies: list[Any]) -> None:
            raise AssertionError("nothing calls it")

    with pytest.raises(TypeError, match=r"use playwright_cookies\(\)"):
        sign_in(Context(), site.app, url="http://localhost:6543")


def test_playwright_gets_cookies_of_its_own_form(site: Site) -> None:
    session = make_session(site.app, id=1)
    (cookie,) = playwright_cookies(site.app, session, "http://localhost:6543/page")
    assert cookie["url"] == "http://localhost:6543/"
    assert cookie["name"] == "authapp.session"
    assert site.services.sealer.open(cookie["value"]).sid == session.sid
