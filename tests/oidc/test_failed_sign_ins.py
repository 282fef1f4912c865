"""Sign-ins with a provider that fail: what the user sees, and how the user can go on."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from webob import Response as Answer

from oidc.conftest import Browser, browser
from servers import Served
from servers.oidc import Provider


def test_the_code_of_somebody_else_is_refused(site: Browser, provider: Provider) -> None:
    mine, theirs = site.begin(), site.other().begin()
    code = parse_qs(urlsplit(theirs).query)["code"][0]
    query = {**{k: v[0] for k, v in parse_qs(urlsplit(mine).query).items()}, "code": code}
    site.get(f"/login/oidc/callback?{urlencode(query)}", status=400)
    assert site.get("/session").json["user"] is None


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


def test_a_session_that_does_not_fit_into_cookies_is_refused(
    site: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.id_claims = {"groups": [f"a long name of a group {number}" for number in range(600)]}
    site.enter(status=503)
    assert "SessionTooLarge" in caplog.text
    assert site.get("/session").json["user"] is None
