"""When a session ends, its tabs show the end, and no private page."""

from typing import Any

from browser.axe import violations
from browser.tabs import open_tabs, pass_time, show_developers, sign_in, sign_out, wait_until


def test_end_of_the_session_is_announced_and_covers_the_page(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    page, other = open_tabs(window, site, 2)
    page.evaluate("document.addEventListener('authapp:ended', (e) => window.code = e.detail.code)")
    notice = page.locator(".authapp-notice[role=status]")
    pass_time(site, 180, page)
    notice.wait_for()
    assert "ends soon" in notice.inner_text()
    assert violations(page) == []
    pass_time(site, 60, page)
    for each in (page, other):
        each.locator("dialog.authapp-cover[open]").wait_for()
        each.keyboard.press("Escape")
        each.keyboard.press("Escape")
        each.locator("dialog.authapp-cover[open]").wait_for()
    assert page.evaluate("window.code") == "RefreshTokenExpired"
    assert page.get_by_role("dialog", name="Your session has ended").is_visible()
    assert violations(page) == []
    page.get_by_role("link", name="Sign in").last.click()
    page.wait_for_url("**/login?next=%2Faccount&reason=RefreshTokenExpired")
    assert "Your session has ended." in page.locator("main").inner_text()
    sign_in(page, site)
    other.locator("dialog.authapp-cover").wait_for(state="detached")
    assert other.locator("#name").inner_text() == "alice"


def test_renewing_a_missing_session_redirects_to_sign_in(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    window.clear_cookies()
    show_developers(page)
    page.get_by_role("button", name="Renew now").click()
    page.wait_for_url("**/login?next=%2Faccount&reason=SignedOut")


def test_back_after_sign_out_shows_no_private_page(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    sign_out(page)
    page.go_back()
    page.wait_for_url("**/login?*")
    assert "alice@example.com" not in page.content()


def test_page_with_a_beforeunload_prompt_is_covered_after_sign_out(serve: Any, window: Any) -> None:
    site = serve(300)
    page, other = open_tabs(window, site, 2)
    page.evaluate("addEventListener('beforeunload', (event) => event.preventDefault())")
    page.locator("h1").click()  # Chromium allows the prompt only after a user action
    page.on("dialog", lambda dialog: dialog.dismiss())
    sign_out(other)
    page.locator("dialog.authapp-cover[open]").wait_for()
    assert page.url == site.url + "/account"


def test_session_ends_when_the_unsent_form_is_too_large_to_store(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = open_tabs(window, site, 1, "/form")
    page.evaluate("document.querySelector('textarea').value = 'x'.repeat(6_000_000)")
    window.clear_cookies()
    page.evaluate("import('/authapp-static/page.js').then((it) => it.session.renew())")
    page.wait_for_url("**/login?next=%2Fform&reason=SignedOut")


def test_the_cover_hides_the_page_without_a_stylesheet(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    (page,) = open_tabs(window, site, 1)
    page.goto(site.url + "/alone")
    wait_until(page, "window.authapp?.session.user")
    pass_time(site, 240, page)
    page.locator("dialog.authapp-cover[open]").wait_for()
    box = page.locator("dialog.authapp-cover").bounding_box()
    assert (box["x"], box["y"]) == (0, 0)
    assert (box["width"], box["height"]) == (1000, 700)
