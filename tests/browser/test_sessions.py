"""Sessions in Chromium: another browser ends a session, or it ends because the user is idle. Then
the user signs in again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.axe import violations
from browser.tabs import enter
from eventually import eventually
from served_site import ServedSite

IDLE = 12


@pytest.fixture
def open_browser(chromium: Any) -> Iterator[Callable[[], Any]]:
    """Yield a function that opens another browser window, which has its own cookies."""
    windows, faults = [], []

    def open_one() -> Any:
        window = chromium.new_context(locale="en", viewport={"width": 390, "height": 700})
        window.on("page", lambda page: page.on("pageerror", lambda it: faults.append(str(it))))
        windows.append(window)
        return window

    yield open_one
    for window in windows:
        window.close()
    assert faults == []


def sign_in(page: Any, site: ServedSite, path: str, name: str = "alice") -> None:
    if not page.url.startswith(site.url + "/login"):
        page.goto(site.url + path)
    page.fill("#username", name)
    page.fill("#password", f"{name}-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + path)


def wait_for_title(page: Any, text: str) -> None:
    """Wait until the form contains the text that the user typed before the session ended."""
    title = page.locator("[name=title]")
    eventually(lambda: page.wait_for_timeout(50) or title.input_value() == text)


def covered(page: Any) -> Any:
    return page.locator("dialog.authapp-cover[open]")


def test_one_browser_ends_the_session_of_another(
    site: ServedSite, open_browser: Callable[[], Any]
) -> None:
    desk, phone = open_browser(), open_browser()
    mine, first, second = desk.new_page(), phone.new_page(), phone.new_page()
    sign_in(mine, site, "/account/sessions")
    sign_in(first, site, "/account")
    second.goto(site.url + "/form")
    second.locator("[name=title]").fill("half a letter")
    mine.reload()
    assert mine.locator("section.session").count() == 2
    assert "Chrom" in mine.locator("#this-device h2").inner_text()
    assert "this device" in mine.locator("#this-device h2").inner_text()
    assert "127.0.0.1" in mine.locator("#this-device").inner_text()
    assert mine.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(mine) == []
    mine.get_by_role("button", name="End this session").click()
    mine.locator("section.session").nth(1).wait_for(state="detached")
    assert mine.get_by_role("button", name="End all other sessions").count() == 0
    # No tab of the other browser has sent a request of its own.
    ended = time.monotonic()
    for each in (first, second):
        covered(each).wait_for(timeout=20_000)
    assert time.monotonic() - ended < 15, "about a second, and the machine may be busy"
    assert mine.locator("h1").inner_text() == "Your sessions"
    second.get_by_role("link", name="Sign in").last.click()
    second.wait_for_url("**reason=SessionRevoked")
    assert "You have been signed out." in second.locator("main").inner_text()
    sign_in(second, site, "/form")
    wait_for_title(second, "half a letter")
    # The other tab is also signed in and shown again. All other sessions end at once.
    covered(first).wait_for(state="detached")
    mine.reload()
    mine.get_by_role("button", name="End all other sessions").click()
    mine.locator("section.session").nth(1).wait_for(state="detached")
    for each in (first, second):
        covered(each).wait_for(timeout=20_000)


def test_of_the_tabs_that_are_shown_one_asks_in_a_second(
    site: ServedSite, open_browser: Callable[[], Any]
) -> None:
    window = open_browser()
    pages = [window.new_page() for _ in range(4)]
    enter(window, site, "carol")
    for page in pages:
        page.goto(site.url + "/account")
    asked: list[str] = []
    window.on("request", lambda it: asked.append(it.url) if "/session/" in it.url else None)
    began = time.monotonic()
    pages[0].wait_for_timeout(6000)
    # If each of the four tabs asked, there would be four requests a second.
    assert 1 <= len(asked) <= 2 * (time.monotonic() - began)
    # While the session is valid, the user does not notice that the server is down.
    window.route("**/session/ended", lambda route: route.fulfill(status=503, body="busy"))
    for page in pages:
        assert page.locator(".authapp-notice, dialog").count() == 0
    # A page that is not visible sends no request.
    window.unroute("**/session/ended")
    for page in pages:
        page.evaluate(
            "Object.defineProperty(Document.prototype, 'visibilityState', { get: () => 'hidden' })"
        )
    pages[0].wait_for_timeout(500)
    asked.clear()
    pages[0].wait_for_timeout(3000)
    assert asked == []


@pytest.mark.parametrize("channel", [True, False])
@pytest.mark.parametrize("hangs", [True, False])
def test_a_page_waits_as_long_as_the_server_says_and_asks_no_server_that_hangs_again(
    site: ServedSite, open_browser: Callable[[], Any], channel: bool, hangs: bool
) -> None:
    window = open_browser()
    if not channel:
        window.add_init_script("delete globalThis.BroadcastChannel")
    asked: list[Any] = []
    page = window.new_page()

    def respond(route: Any) -> None:
        asked.append(route)
        if not hangs:
            route.fulfill(json={"ended": False, "again": 60})

    page.route("**/session/ended", respond)
    enter(window, site, "carol")
    page.goto(site.url + "/account")
    page.wait_for_timeout(6000)
    assert len(asked) == 1


def test_an_idle_session_warns_ends_and_keeps_a_half_written_form(
    tmp_path: Path, open_browser: Callable[[], Any]
) -> None:
    changes = {"pyramid.includes": "letter_pages", "authapp.session.idle": str(IDLE)}
    site = ServedSite(tmp_path, changes)
    try:
        window = open_browser()
        page, other = window.new_page(), window.new_page()
        sign_in(page, site, "/form")
        other.goto(site.url + "/account")
        page.locator("[name=title]").fill("half a letter")
        page.locator(".authapp-notice").wait_for(timeout=IDLE * 1000)
        page.get_by_role("button", name="Stay signed in").click()
        page.locator(".authapp-notice").wait_for(state="detached", timeout=2000)
        other.locator(".authapp-notice").wait_for(state="detached", timeout=2000)
        page.wait_for_timeout(IDLE * 500)
        assert not covered(page).is_visible(), "the page stays open after the first end"
        for each in (page, other):
            covered(each).wait_for(timeout=IDLE * 1500)
        page.get_by_role("link", name="Sign in").last.click()
        page.wait_for_url("**reason=SessionIdle")
        assert "had not used the site" in page.locator("main").inner_text()
        sign_in(page, site, "/form")
        wait_for_title(page, "half a letter")
        covered(other).wait_for(state="detached")
    finally:
        site.stop()


def test_a_form_that_needs_a_recent_sign_in_comes_back_with_what_was_typed(
    site: ServedSite, open_browser: Callable[[], Any]
) -> None:
    page = open_browser().new_page()
    sign_in(page, site, "/confirm", "bob")
    page.wait_for_timeout(5000)
    page.locator("[name=title]").fill("a whole letter")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/login?next=%2Fconfirm&max_age=4")
    assert "recent sign-in" in page.locator("main").inner_text()
    sign_in(page, site, "/confirm", "bob")
    wait_for_title(page, "a whole letter")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Sent: a whole letter").wait_for()
    # A form that was sent is no longer kept as a draft.
    page.goto(site.url + "/confirm")
    assert page.locator("[name=title]").input_value() == ""
