"""The sign-in page of a site with a provider: its button, its password form, its checkbox."""

from typing import Any

import pytest

from oidc.conftest import Browser, browser
from servers import Served
from servers.oidc import Provider


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
