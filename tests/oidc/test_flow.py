"""Sign-in with a provider: the redirects to the provider and back, and what can go wrong."""

import json
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import time_machine
from pyramid.config import Configurator
from webob import Response as Answer

from authapp.session.sealed_value import SealedValue
from oidc.conftest import Browser, browser, oidc_settings
from servers import Served
from servers.oidc import CLIENT_ID, CLIENT_SECRET, Provider
from site_under_test import SECRET, Site, add_view

later = lambda seconds: time_machine.travel(time.time() + seconds)  # noqa: E731


def text_of(response: Any) -> str:
    return " ".join(re.sub("<[^>]*>", " ", response.text).split())


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


def test_the_callback_opened_twice_goes_on_to_the_site(site: Browser) -> None:
    callback = site.begin("/login/oidc?next=/account")
    assert site.get(callback).location == "/account"
    assert site.get(callback).location == "/"
    assert site.get("/session").json["user"]["id"] == "u-alice"


def test_a_copy_of_the_cookie_works_once(site: Browser) -> None:
    callback = site.begin()
    copy = site.twin()
    site.get(callback, status=303)
    page = copy.get(callback, status=400)
    assert "already used" in text_of(page)
    assert copy.get("/session").json["user"] is None


def test_another_browser_cannot_finish(site: Browser) -> None:
    callback = site.begin()
    page = site.other().get(callback, status=400)
    assert "SignInExpired" in page
    assert site.get(callback).status_int == 303


def test_after_ten_minutes_the_sign_in_begins_again(site: Browser) -> None:
    callback = site.begin("/login/oidc?next=/account")
    with later(601):
        page = site.get(callback, status=400)
    assert "Sign in with Example ID" in page
    assert site.enter().status_int == 303


def test_the_code_of_somebody_else_is_refused(site: Browser, provider: Provider) -> None:
    mine, theirs = site.begin(), site.other().begin()
    code = parse_qs(urlsplit(theirs).query)["code"][0]
    query = {**{k: v[0] for k, v in parse_qs(urlsplit(mine).query).items()}, "code": code}
    site.get(f"/login/oidc/callback?{urlencode(query)}", status=400)
    assert site.get("/session").json["user"] is None


def test_two_tabs_sign_in_at_once(site: Browser) -> None:
    first, second = site.begin("/login/oidc?next=/a"), site.begin("/login/oidc?next=/b")
    assert site.get(second).location == "/b"
    assert site.get(first).location == "/a"


def test_at_most_three_transactions_are_kept(site: Browser) -> None:
    callbacks = []
    for number in range(5):
        with later(number):
            callbacks.append(site.begin())
    assert len(site.transactions()) == 3
    with later(5):
        site.get(callbacks[0], status=400)
        site.get(callbacks[-1], status=303)


@pytest.mark.parametrize("name", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"])
def test_a_prefetch_begins_nothing(site: Browser, name: str) -> None:
    response = site.get("/login/oidc", headers={name: "prefetch;prerender"}, status=503)
    assert site.transactions() == []
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("access_denied", 403, "SignInIncomplete"),
        ("login_required", 403, "SignInIncomplete"),
        ("temporarily_unavailable", 503, "BackendUnavailable"),
        ("invalid_scope", 503, "BackendUnavailable"),
    ],
)
def test_an_error_of_the_provider_is_a_page_with_a_way_on(
    site: Browser, provider: Provider, error: str, status: int, code: str
) -> None:
    provider.callback = {"code": None, "error": error, "error_description": "<b>no</b>"}  # type: ignore[dict-item]
    page = site.enter("/login/oidc?next=/account", status=status)
    assert code in page
    assert "<b>no" not in page
    provider.callback = {}
    way = page.click("Sign in with Example ID")
    assert site.get(site.visit(way.location)).location == "/account"


def test_the_issuer_of_the_answer_is_checked(site: Browser, provider: Provider) -> None:
    provider.callback = {"iss": "https://evil.example"}
    site.enter(status=503)
    provider.callback = {"iss": None}  # type: ignore[dict-item]
    site.enter(status=503)
    assert provider.forms == []


def test_an_answer_without_an_issuer_is_good_if_none_was_promised(
    site: Browser, provider: Provider
) -> None:
    provider.metadata = {"authorization_response_iss_parameter_supported": None}
    provider.callback = {"iss": None}  # type: ignore[dict-item]
    site.enter(status=303)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
def test_a_provider_that_is_down_signs_nobody_out(
    served: Served, provider: Provider, path: str
) -> None:
    site = browser(served)
    served.instead[path] = Answer(status=503)
    if path.startswith("/.well"):
        page = site.get("/login/oidc?next=/account", status=503)
    else:
        page = site.enter("/login/oidc?next=/account", status=503)
    assert "BackendUnavailable" in page
    assert page.headers["Retry-After"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?state=x",
        "?code=x",
        "?state=x&state=y&code=z",
        "?state=%00&code=" + "x" * 5000,
        "?state=%ed%a0%80",
        "?error=access_denied",
    ],
)
def test_a_callback_that_nobody_asked_for_is_a_page(site: Browser, query: str) -> None:
    page = site.get(f"/login/oidc/callback{query}", status=400)
    assert "Set-Cookie" not in page.headers or "authapp.session" not in page.headers["Set-Cookie"]


def test_cookies_that_are_not_ours_are_ignored(site: Browser) -> None:
    for value in ("", "x", "!!!", "A" * 40):
        site.set_cookie("authapp.oidc.0123", value)
        site.enter(status=303)


def test_the_page_goes_on_by_itself_except_after_a_sign_out(site: Browser) -> None:
    assert site.get("/login?next=/account").location.startswith("/login/oidc?next=")
    for query in ("reason=SignedOut", "reason=RefreshTokenExpired", "reason=", "error=x"):
        page = site.get(f"/login?next=/account&{query}", status=200)
        assert 'name="password"' not in page
        assert page.click("Sign in with Example ID").status_int == 303


def test_a_password_is_not_taken_where_only_the_provider_signs_in(site: Browser) -> None:
    page = site.get("/login?reason=SignedOut")
    token = site.csrf()
    site.post("/login", {"csrf_token": token, "username": "a", "password": "b"}, status=404)
    assert page


def test_a_form_and_a_button_stand_side_by_side(
    served: Served, backend: Served, provider: Provider
) -> None:
    site = browser(served, backend__url=backend.url)
    page = site.get("/login", status=200)
    assert "Sign in with Example ID" in page
    site.sign_in("bob").follow()
    assert site.get("/session").json["user"]["id"] == 2
    assert site.opened().tokens.issuer is None
    site.enter(status=303)
    assert site.get("/session").json["user"]["id"] == "u-alice"
    assert site.opened().tokens.issuer == served.url


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


def test_in_production_no_sibling_domain_can_plant_a_transaction(
    served: Served, provider: Provider
) -> None:
    more = {
        "development": "false",
        "secret": "a secret of production, long enough 0123456789",
        "backend__private_network": "true",
    }
    site = browser(served, **more)
    site.extra_environ |= {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"}
    response = site.get("/login/oidc", status=303)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-authapp.oidc.")
    for part in ("HttpOnly", "Path=/", "SameSite=Lax", "secure", "Max-Age=600"):
        assert part in cookie
    assert "redirect_uri=https%3A%2F%2Flocalhost%2Flogin%2Foidc%2Fcallback" in response.location
    site.get(site.visit(response.location), status=303)
    assert site.get("/session").json["user"]["id"] == "u-alice"


def test_a_transaction_of_another_version_is_not_read(site: Browser) -> None:
    callback = site.begin()
    (name,) = site.transactions()
    sealed = SealedValue([SECRET.encode()], "oidc transaction", 600)
    site.set_cookie(name, sealed.seal({"state": "of another version"}))
    site.get(callback, status=400)


def test_the_cookie_does_not_show_what_it_holds(site: Browser, provider: Provider) -> None:
    site.begin()
    (name,) = site.transactions()
    given = parse_qs(provider.authorizations[0])
    for each in ("state", "nonce", "code_challenge"):
        assert given[each][0] not in site.cookies[name]
        assert given[each][0] not in name


def test_a_visitor_who_fails_again_and_again_has_to_wait(
    site: Browser, provider: Provider, served: Served
) -> None:
    provider.id_claims = {"nonce": "wrong"}
    for _ in range(10):
        site.enter(status=503)
    page = site.enter(status=429)
    assert page.headers["Retry-After"]
    assert served.calls["/token"] == 10


def test_an_answer_with_neither_a_code_nor_an_error_is_a_page(
    site: Browser, provider: Provider
) -> None:
    provider.callback = {"code": None}  # type: ignore[dict-item]
    site.enter(status=503)


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


def test_a_session_that_does_not_fit_into_cookies_is_refused(
    site: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.id_claims = {"groups": [f"a long name of a group {number}" for number in range(600)]}
    site.enter(status=503)
    assert "SessionTooLarge" in caplog.text
    assert site.get("/session").json["user"] is None


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


def keeps(response: Any) -> bool:
    """Return True if the browser keeps the session cookie after the browser is closed."""
    (cookie,) = [
        each
        for each in response.headers.getall("Set-Cookie")
        if each.startswith("authapp.session=") and "Max-Age=0" not in each
    ]
    return "Max-Age" in cookie


@pytest.mark.parametrize(("query", "kept"), [("&remember=1", True), ("", False)])
def test_the_cookie_ends_with_the_browser_unless_it_is_asked_to_stay(
    served: Served, query: str, kept: bool
) -> None:
    site = browser(served, session__remember="ask")
    assert keeps(site.enter(f"/login/oidc?next=/{query}")) is kept


BESIDE = {"backend__url": "http://127.0.0.1:9", "login__methods": "password oidc"}
"""Settings with which the sign-in page has both a password form and the provider's button."""


@pytest.mark.parametrize("ticked", [True, False])
@pytest.mark.parametrize("more", [{}, BESIDE])
def test_one_box_is_for_the_form_and_for_the_providers_button(
    served: Served, more: dict[str, str], ticked: bool
) -> None:
    site = browser(served, session__remember="ask", **more)
    page = site.get("/login?next=/account&reason=SignedOut")
    assert len(page.html.select("input[name=remember]")) == 1
    form = page.forms["sign-in"]
    form["remember"] = ticked
    # A submit button may stand outside its form.
    (button,) = page.html.select("button[name=provider]")
    assert (button["form"], button["value"]) == ("sign-in", "Example ID")
    fields = [*form.submit_fields(), ("provider", button["value"])]
    leads_on = site.post("/login", fields, status=200)
    (link,) = leads_on.html.select("main a")
    # A redirect would break the policy form-action 'self' of the page.
    assert (
        leads_on.html.select_one("meta[http-equiv=refresh]")["content"] == f"0;url={link['href']}"
    )
    assert "Set-Cookie" not in leads_on.headers
    response = site.enter(link["href"])
    assert (response.location, keeps(response)) == ("/account", ticked)


def test_after_an_error_the_box_is_still_ticked(served: Served) -> None:
    site = browser(served, session__remember="ask", oidc__issuer="http://127.0.0.1:9")
    page = site.get("/login/oidc?next=/&remember=1", status=503)
    assert page.forms["sign-in"]["remember"].checked


def test_after_an_error_the_password_and_the_button_still_work(
    served: Served, backend: Served
) -> None:
    """After an error, the page with the password form is at ``/login/oidc`` or at the callback.
    These addresses accept no form, so the form must be sent to ``/login``."""
    more = {"backend__url": backend.url, "login__methods": "password oidc"}
    site = browser(served, session__remember="ask", oidc__issuer="http://127.0.0.1:9", **more)
    for path, status in [
        ("/login/oidc?next=/account&remember=1", 503),
        ("/login/oidc/callback", 400),
    ]:
        page = site.get(path, status=status)
        form = page.forms["sign-in"]
        (button,) = page.html.select("button[name=provider]")
        fields = [*form.submit_fields(), ("provider", button["value"])]
        site.post(form.action, fields, status=200)
        form["username"], form["password"] = "alice", "alice-password"
        form["remember"] = False
        response = form.submit(status=303)
        assert response.location == form["next"].value
        assert not keeps(response)
        site.sign_out()


def test_a_recent_sign_in_keeps_the_choice_and_asks_for_none(served: Served) -> None:
    site = browser(served, session__remember="ask", **BESIDE)
    site.enter("/login/oidc?next=/&remember=1")
    page = site.get("/login?next=/account&max_age=0")
    assert page.html.select("input[name=remember], button[name=provider]") == []
    response = site.enter(page.html.select_one("a[rel=nofollow]")["href"])
    assert (response.location, keeps(response)) == ("/account", True)


@pytest.mark.parametrize("label", ["", "Other ID", "\ud800".encode("utf-8", "surrogatepass")])
def test_a_provider_that_the_page_does_not_offer_is_not_found(served: Served, label: Any) -> None:
    site = browser(served, session__remember="ask", **BESIDE)
    fields = {"csrf_token": site.csrf(), "provider": label}
    site.post("/login", fields, status="4*")
    site.post("/login", {"provider": "Example ID"}, status="4*")


def test_a_page_without_a_choice_has_a_link_to_the_provider(served: Served) -> None:
    page = browser(served, **BESIDE).get("/login?next=/account")
    assert page.html.select("button[name=provider]") == []
    (link,) = page.html.select("a[rel=nofollow]")
    assert link["href"] == "/login/oidc?next=%2Faccount"
