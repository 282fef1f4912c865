"""The cookie that remembers a sign-in with a provider until the provider sends the browser back."""

import re
from typing import Any
from urllib.parse import parse_qs

import pytest

from authapp.session.sealed_value import SealedValue
from oidc.conftest import Browser, browser, later
from servers import Served
from servers.oidc import Provider
from site_under_test import SECRET


def text_of(response: Any) -> str:
    return " ".join(re.sub("<[^>]*>", " ", response.text).split())


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
