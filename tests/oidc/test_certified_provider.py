"""Sign-in with a certified provider (npm ``oidc-provider``), in Chromium, with ``pserve``."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from oidc.certified import Certified
from served_site import ServedSite


class Place:
    """The provider, and three sites that use it with different settings."""

    def __init__(self, folder: Path) -> None:
        self.provider = Certified(access=4)
        settings = self.provider.settings()
        asked: dict[str, dict[str, str]] = {
            "plain": {"pyramid.includes": "letter_pages"},
            "max_age": {"authapp.oidc.max_age": "1"},
            "login": {
                "authapp.oidc.prompt": "login consent",
                "authapp.session.remember": "ask",
            },
        }
        self.sites = {
            name: ServedSite(
                folder,
                settings | more,
                name,
            )
            for name, more in asked.items()
        }
        self.start()

    def start(self) -> None:
        self.provider.start(*(site.url for site in self.sites.values()))

    def close(self) -> None:
        self.provider.stop()
        for site in self.sites.values():
            site.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("sites"))
    yield place
    place.close()


@pytest.fixture
def site(place: Place) -> ServedSite:
    return place.sites["plain"]


@pytest.fixture
def provider(place: Place) -> Iterator[Certified]:
    yield place.provider
    place.provider.down()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    window = chromium.new_context(locale="en")
    yield window.new_page()
    window.close()


def at_provider(page: Any, name: str = "alice") -> None:
    """Enter a user name at the provider, if the provider asks for one."""
    if page.locator("input[name=login]").count():
        page.fill("input[name=login]", name)
        page.fill("input[name=password]", "any")
        page.click("button[type=submit]")


def sign_in(page: Any, site: ServedSite, name: str = "alice") -> None:
    page.goto(site.url + "/account")
    agree(page, site, name)


def agree(page: Any, site: ServedSite, name: str = "alice") -> None:
    """Sign in at the provider, agree there, and wait for the account page of the site."""
    at_provider(page, name)
    page.click("button[type=submit]")
    page.wait_for_url(site.url + "/account")
    assert page.locator("#email").inner_text() == f"{name}@example.com"


def problem(page: Any) -> str:
    """Return the error code that the sign-in page shows."""
    return str(page.locator("#problem").get_attribute("data-code"))


def test_a_person_signs_in_and_the_session_is_renewed(
    page: Any, site: ServedSite, provider: Certified
) -> None:
    page.goto(site.url + "/login?reason=RefreshTokenExpired")
    page.evaluate("sessionStorage.setItem('of a draft', 'what was typed')")
    sign_in(page, site)
    kept = page.evaluate("sessionStorage.getItem('of a draft')")
    assert kept == "what was typed", "the script keeps drafts there, and the way there leaves them"
    assert page.locator("#roles").inner_text().strip() == "admin"
    before = provider.calls("/token")
    seconds = int(page.locator("#valid-until time").get_attribute("data-seconds"))
    for _ in range(2):
        while time.time() <= seconds:
            page.wait_for_timeout(100)
        page.reload()
        assert page.locator("#email").inner_text() == "alice@example.com"
        seconds, old = (
            int(page.locator("#valid-until time").get_attribute("data-seconds")),
            seconds,
        )
        assert seconds > old
    assert provider.calls("/token") >= before + 2


def test_consent_refused_is_a_page_with_a_way_on(page: Any, site: ServedSite) -> None:
    page.goto(site.url + "/account")
    at_provider(page)
    page.click("text=Cancel")
    assert problem(page) == "SignInIncomplete"
    page.click("text=Sign in with Certified ID")
    at_provider(page)
    page.click("button[type=submit]")
    page.wait_for_url(site.url + "/account")


def test_a_sign_out_ends_both_sessions_and_comes_back(page: Any, site: ServedSite) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    sign_in(page, site)
    page.click("header button")
    page.wait_for_url("**/session/end?*")
    page.click("button[value=yes]")
    page.wait_for_url(site.url + "/login?reason=SignedOut")
    assert "You are signed out." in page.locator("main").inner_text()
    assert not [each for each in problems if "form-action" in each]
    page.click("text=Sign in with Certified ID")
    assert page.locator("input[name=login]").count() == 1, "the provider asks who it is"


def test_what_was_typed_comes_back_after_a_sign_in_at_the_provider(
    page: Any, chromium: Any, site: ServedSite
) -> None:
    sign_in(page, site)
    page.goto(site.url + "/form")
    page.fill("[name=title]", "half a letter")
    page.fill("[name=pin]", "1234")
    window = chromium.new_context(locale="en")
    other = window.new_page()
    sign_in(other, site)
    other.goto(site.url + "/account/sessions")
    other.click("button[name=others]")
    page.locator("dialog.authapp-cover[open]", has_text="is kept").wait_for(timeout=10_000)
    page.locator("dialog.authapp-cover a").click()
    page.click("text=Sign in with Certified ID")
    page.click("button[type=submit]")
    page.wait_for_url(site.url + "/form")
    title = page.locator("[name=title]")
    eventually(lambda: page.wait_for_timeout(50) or title.input_value() == "half a letter")
    assert page.locator("[name=pin]").input_value() == ""
    assert page.evaluate("sessionStorage.authappDraft") is None
    window.close()


@pytest.mark.parametrize("ticked", [True, False])
def test_the_box_beside_the_providers_button_is_honoured(
    page: Any, place: Place, ticked: bool
) -> None:
    """The box "Keep me signed in" and the provider's button are in one form. The session cookie has
    an expiry only if the box is ticked. The form leads to the provider: the page's policy
    ``form-action 'self'`` must not stop this."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    site = place.sites["login"]
    page.goto(site.url + "/login?next=%2Faccount&reason=SignedOut")
    page.get_by_label("Keep me signed in").set_checked(ticked)
    page.click("text=Sign in with Certified ID")
    page.locator("input[name=login]").wait_for()
    agree(page, site)
    (cookie,) = [it for it in page.context.cookies() if it["name"] == "authapp.session"]
    assert (cookie["expires"] > time.time()) is ticked
    assert not [each for each in problems if "form-action" in each]


def test_the_provider_signs_out_every_browser_of_its_session(
    page: Any, site: ServedSite, provider: Certified
) -> None:
    sign_in(page, site)
    other = page.context.new_page()
    other.goto(provider.url + "/session/end")
    other.click("button[value=yes]")
    other.wait_for_load_state()
    page.goto(site.url + "/account")
    assert page.url.startswith(provider.url) or "reason=SessionRevoked" in page.url


def test_the_provider_is_down_when_the_code_is_exchanged(
    page: Any, site: ServedSite, provider: Certified
) -> None:
    page.goto(site.url + "/account")
    at_provider(page)
    provider.down("/token")
    page.click("button[type=submit]")
    page.wait_for_url("**/login/oidc/callback?*")
    assert problem(page) == "BackendUnavailable"
    provider.down()
    page.wait_for_timeout(1500)
    page.click("text=Sign in with Certified ID")
    at_provider(page)
    page.click("button[type=submit]")
    page.wait_for_url(site.url + "/account")


def test_the_provider_is_down_when_the_session_is_renewed(
    page: Any, site: ServedSite, provider: Certified
) -> None:
    sign_in(page, site)
    provider.down("/token")
    seconds = int(page.locator("#valid-until time").get_attribute("data-seconds"))
    while time.time() <= seconds:
        page.wait_for_timeout(100)
    assert page.goto(site.url + "/account").status == 503
    provider.down()
    page.wait_for_timeout(1500)
    page.goto(site.url + "/account")
    assert page.locator("#email").inner_text() == "alice@example.com"


def test_the_provider_is_down_at_the_sign_out(
    page: Any, site: ServedSite, provider: Certified
) -> None:
    sign_in(page, site)
    provider.down("/token/revocation")
    page.click("header button")
    page.wait_for_url("**/session/end?*")
    page.goto(site.url + "/account")
    assert page.url.startswith(provider.url), "the session here has ended"


@pytest.mark.parametrize("name", ["max_age", "login"])
def test_a_site_can_ask_for_a_new_authentication(page: Any, place: Place, name: str) -> None:
    sign_in(page, place.sites["plain"])
    page.goto("about:blank")  # otherwise its script opens the sign-in page
    page.context.clear_cookies(name="authapp.session")  # cookies are the same for all ports
    page.wait_for_timeout(2000)
    site = place.sites[name]
    page.goto(site.url + "/account")
    assert page.locator("input[name=login]").count() == 1
    agree(page, site)


def test_the_keys_are_rotated_in_the_middle(page: Any, place: Place, site: ServedSite) -> None:
    place.provider.stop()
    place.start()
    sign_in(page, site, "bob")
