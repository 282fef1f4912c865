"""Every page is accessible (axe-core), in narrow and wide windows, in light and dark colors."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from browser.axe import violations
from served_site import ServedSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    changes = {"authapp.login.rate": "2/minute", "pyramid.includes": "letter_pages"}
    site = ServedSite(tmp_path_factory.mktemp("pages"), changes)
    yield site
    site.stop()


@pytest.fixture
def page(chromium: Any, site: ServedSite) -> Iterator[Any]:
    """Yield a page. At the end, check that it called no other host and had no warnings or
    errors."""
    window = chromium.new_context(locale="en", viewport={"width": 320, "height": 640})
    page = window.new_page()
    faults: list[str] = []
    page.on("console", lambda each: faults.append(each.text) if each.type == "warning" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda each: None if each.url.startswith(site.url + "/") else faults.append(each.url),
    )
    yield page
    window.close()
    assert faults == []


def check_layout_and_accessibility(page: Any) -> None:
    """Check that a page does not scroll sideways and has no axe-core problems: in light and dark
    colors, narrow and wide."""
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    for colors, width in product(("light", "dark"), (320, 1280)):
        page.emulate_media(color_scheme=colors)
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate(dark) is (colors == "dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []
    page.set_viewport_size({"width": 320, "height": 640})


def sign_in(page: Any, name: str, password: str) -> None:
    page.fill("#username", name)
    page.fill("#password", password)
    page.keyboard.press("Enter")


def test_text_of_twice_the_size_covers_nothing_on_a_small_screen(
    site: ServedSite, chromium: Any
) -> None:
    window = chromium.new_context(locale="en", viewport={"width": 320, "height": 640})
    page = window.new_page()
    sizes = {"fontSizes": {"standard": 32, "fixed": 26}}
    window.new_cdp_session(page).send("Page.setFontSizes", sizes)
    page.goto(site.url + "/login")
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "32px"
    skip = page.locator(".skip").bounding_box()
    assert skip["x"] + skip["width"] <= 0
    field = page.locator("#password").bounding_box()
    button = page.get_by_role("button", name="Show").bounding_box()
    assert button["y"] >= field["y"] + field["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    window.close()


def test_pages_for_anonymous_visitors_are_accessible(site: ServedSite, page: Any) -> None:
    for path, heading in {
        "/": "Signed-in sessions for Pyramid",
        "/login": "Sign in",
        "/login?reason=RefreshTokenExpired": "Sign in",
        "/logout": "Sign out",
        "/nowhere": "Page not found",
    }.items():
        page.goto(site.url + path)
        assert page.locator("h1").inner_text() == heading
        check_layout_and_accessibility(page)


def test_pages_for_signed_in_users_are_accessible(site: ServedSite, page: Any) -> None:
    page.goto(site.url + "/account")
    sign_in(page, "alice", "alice-password")
    page.wait_for_url("**/account")
    for path, heading in {
        "/account": "Your account",
        "/": "Signed-in sessions for Pyramid",
        "/admin": "Administration",
        "/form": "A letter",
        "/logout": "Sign out",
    }.items():
        page.goto(site.url + path)
        assert page.locator("h1").inner_text() == heading
        check_layout_and_accessibility(page)


def test_error_pages_are_accessible(site: ServedSite, page: Any) -> None:
    page.goto(site.url + "/login?next=/admin")
    sign_in(page, "bob", "bob-password")
    page.locator("h1", has_text="You do not have access").wait_for()
    assert "Forbidden" not in page.locator("main").inner_text()
    assert "You are signed in as bob." in page.locator("main").inner_text()
    check_layout_and_accessibility(page)
    page.context.clear_cookies()
    for status in ("InvalidCredentials", "InvalidCredentials", "TooManyAttempts"):
        page.goto(site.url + "/login")
        sign_in(page, "nobody", "wrong")
        page.locator(f"#problem[data-code={status}]").wait_for()
        assert status not in page.locator("main").inner_text()
        check_layout_and_accessibility(page)


def test_unavailable_page_is_accessible_and_offers_to_try_again(
    site: ServedSite, page: Any
) -> None:
    answer = page.goto(site.url + "/unavailable")
    said = page.locator("main small").inner_text()
    assert said == f"Request {answer.headers['x-request-id']}"
    check_layout_and_accessibility(page)
    assert page.get_by_role("link", name="Try again").get_attribute("href") == "/unavailable"


def test_sign_in_page_loads_less_than_30_kilobytes(site: ServedSite, chromium: Any) -> None:
    window = chromium.new_context()
    page = window.new_page()
    bodies: list[int] = []
    page.on("response", lambda each: bodies.append(len(each.body()) if each.ok else 0))
    page.goto(site.url + "/login", wait_until="networkidle")
    assert len(bodies) >= 3
    assert sum(bodies) < 30_000
    window.close()
    assert (Path(__file__).parents[2] / "authapp/static/session.js").stat().st_size < 10_240


def test_the_fragment_of_the_page_is_kept_through_the_sign_in(site: ServedSite, page: Any) -> None:
    """The fragment of the page's address, such as ``#part-2``, survives a failed attempt to sign in
    too."""
    page.goto(site.url + "/account#part-2")
    assert page.url.endswith("/login?next=%2Faccount#part-2")
    sign_in(page, "carol", "wrong")
    page.wait_for_selector("#problem")
    assert page.url.endswith("#part-2")
    sign_in(page, "carol", "carol-password")
    page.wait_for_url("**/account#part-2")
