"""All tabs of a browser follow its session: sign-in, sign-out, renewal and the new CSRF token."""

from typing import Any

import pytest

from browser.tabs import open_tabs, pass_time, renew, sign_in, sign_out, valid_until, wait_until


@pytest.mark.parametrize("how", ["Sign out", "Sign out everywhere"])
def test_sign_out_and_sign_in_reach_all_tabs(serve: Any, window: Any, how: str) -> None:
    site = serve(300)
    pages = open_tabs(window, site, 5)
    pages[3].goto(site.url + "/?of=tab3")
    sign_out(pages[0], how)
    for page in pages[1:]:
        page.wait_for_url("**/login?next=*reason=SignedOut", timeout=10_000)
        assert "You are signed out." in page.locator("main").inner_text()
    sign_in(pages[0], site)
    for page in pages[1:]:
        page.wait_for_url(site.url + ("/?of=tab3" if page is pages[3] else "/account"))


def test_tabs_announce_another_user_and_reload(serve: Any, window: Any) -> None:
    site = serve(300)
    first, second, waits = open_tabs(window, site, 3)
    window.clear_cookies()  # as if the session had ended
    sign_in(first, site, "bob")
    for page in (second, waits):
        page.locator(".authapp-notice", has_text="Someone else").wait_for(timeout=10_000)
    for page in (second, waits):
        page.locator("#name", has_text="bob").wait_for()


def test_one_of_five_tabs_renews_for_all(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="3000")
    window.clock.install()
    pages = open_tabs(window, site, 5)
    asked: list[str] = []
    window.on(
        "request", lambda request: asked.extend([request.url] * request.url.endswith("/session"))
    )
    before = valid_until(pages[0])
    for page in pages:
        page.evaluate("document.addEventListener('authapp:renewed', () => window.heard = true)")
    pass_time(site, 275)
    window.clock.fast_forward(275_000)
    for page in pages:
        wait_until(page, "window.heard")
        assert valid_until(page) > before
        assert page.locator("#life .mark").count() == 1
    assert site.log.count('"SessionRenewed"') == 1
    assert len(asked) == 1


def test_tabs_stay_in_sync_without_broadcast_channel_and_locks(serve: Any, window: Any) -> None:
    site = serve(300)
    window.add_init_script(
        "delete globalThis.BroadcastChannel;"
        "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
    )
    first, second = open_tabs(window, site, 2)
    renew(first)
    second.locator("#life .mark").wait_for(state="attached")
    sign_out(first)
    second.wait_for_url("**/login?next=*reason=SignedOut", timeout=10_000)
    wait_until(first, "localStorage.length === 0")  # other tabs see a change of the storage late


def test_open_form_gets_the_new_csrf_token_after_another_sign_in(serve: Any, window: Any) -> None:
    site = serve(300)
    first, second = open_tabs(window, site, 2, "/form")
    second.evaluate("window.here = true")
    first.context.clear_cookies()
    sign_in(first, site, path="/form")
    token = first.locator("#letter [name=csrf_token]").get_attribute("value")
    wait_until(second, f"document.querySelector('#letter [name=csrf_token]').value === '{token}'")
    assert second.evaluate("window.here"), "the page must not reload"


def test_public_page_gets_the_csrf_token_after_sign_in_in_another_tab(
    serve: Any, window: Any
) -> None:
    site = serve(300)
    public, other = window.new_page(), window.new_page()
    public.goto(site.url + "/")
    public.evaluate(
        "document.body.append(Object.assign(document.createElement('input'),"
        " { name: 'csrf_token', value: 'of before' }))"
    )
    sign_in(other, site)
    wait_until(public, "document.querySelector('[name=csrf_token]').value.length === 64")


def test_reason_in_the_address_does_not_end_the_session(serve: Any, window: Any) -> None:
    """One tab loads a sign-in page whose address says that the session has ended. If the user then
    signs in in another tab, the new session does not end."""
    site = serve(300)
    late, other = window.new_page(), window.new_page()
    held: list[Any] = []
    late.route("**/page.js", lambda route: route.continue_() if held else held.append(route))
    late.goto(site.url + "/login?reason=RefreshTokenExpired", wait_until="commit")
    sign_in(other, site)
    while not held:
        late.wait_for_timeout(50)
    held[0].continue_()
    late.wait_for_url(site.url + "/")
    assert other.locator("dialog.authapp-cover").count() == 0
    assert other.url == site.url + "/account"
