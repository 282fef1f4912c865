"""A session in several tabs of Chromium: after the computer slept, offline, and when it ends."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from browser.axe import violations
from served_site import ServedSite


def record_faults(page: Any, faults: list[str]) -> None:
    """Add the errors and warnings of a page to a list, without Chromium's messages about failed
    loads."""
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type in ("error", "warning")
            and "Failed to load resource" not in message.text
            else None
        ),
    )


def start_site(folder: Path, access: int, **more: str) -> ServedSite:
    lives = {"issuer.access_lifetime": str(access)}
    settings = {f"issuer.{key}": value for key, value in more.items()}
    settings["pyramid.includes"] = "letter_pages moved_clock"
    return ServedSite(folder, lives | settings)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """Yield a site for all tests that do not stop it. Its access tokens last five minutes."""
    site = start_site(tmp_path_factory.mktemp("usual"), 300)
    yield site
    site.stop()


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., ServedSite]]:
    """Yield a function that returns a site.

    The function starts a new site, unless the fixture ``usual`` has the settings that the test
    needs.
    """
    sites = []

    def start(access: int, **more: str) -> ServedSite:
        if access == 300 and not more:
            usual: ServedSite = request.getfixturevalue("usual")
            return usual
        sites.append(start_site(tmp_path, access, **more))
        return sites[-1]

    yield start
    for site in sites:
        site.stop()


@pytest.fixture
def window(chromium: Any) -> Iterator[Any]:
    """Yield a browser window. At the end, check that its tabs had no errors or warnings."""
    window = chromium.new_context(locale="en", viewport={"width": 1000, "height": 700})
    faults: list[str] = []
    window.on("page", lambda page: record_faults(page, faults))
    yield window
    window.close()
    assert faults == []


def wait_until(page: Any, expression: str, seconds: float = 15) -> None:
    """Wait until a JavaScript expression is true in a page.

    The Content-Security-Policy of the page forbids Playwright's ``wait_for_function``.
    """
    give_up = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < give_up, expression
        page.wait_for_timeout(50)


def sign_in(page: Any, site: ServedSite, name: str = "alice", path: str = "/account") -> None:
    page.goto(f"{site.url}{path}")
    page.fill("#username", name)
    page.fill("#password", f"{name}-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + path)


def enter(window: Any, site: ServedSite, name: str = "alice") -> None:
    """Send the requests of the sign-in form, without opening the page.

    This is for tests of other things than the sign-in. Chromium would need a second of processor
    time to show the form and to fill it in.
    """
    page = window.request.get(site.url + "/login").text()
    (csrf,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    form = {"csrf_token": csrf, "username": name, "password": f"{name}-password"}
    answer = window.request.post(site.url + "/login", form=form, max_redirects=0)
    assert answer.status == 303, answer.text()


def open_tabs(window: Any, site: ServedSite, number: int, path: str = "/account") -> list[Any]:
    """Sign a user in. Return some tabs that show ``path``."""
    pages = [window.new_page() for _ in range(number)]
    enter(window, site)
    for page in pages:
        page.goto(site.url + path)
    return pages


def pass_time(site: ServedSite, seconds: float, *pages: Any) -> None:
    """Move the site's clock forward. Then let the tabs ask the site, as if the browser showed them
    again.

    With a short session instead, a test would fail on a slow machine: the session could end before
    the tabs are open.
    """
    requests.post(f"{site.url}/clock?seconds={seconds}", timeout=10).raise_for_status()
    for page in pages:
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")


def valid_until(page: Any) -> int:
    """Return the expiry of the access token in Unix seconds, as the page shows it."""
    return int(page.locator("#valid-until time").get_attribute("data-seconds"))


def show_developers(page: Any) -> None:
    """Open the section for developers on the account page."""
    page.locator("#developers").evaluate("it => it.open = true")


def renew(page: Any) -> None:
    """Wait a second, so that the new token expires later than the old one. Then click "Renew
    now"."""
    page.wait_for_timeout(1000)
    show_developers(page)
    page.get_by_role("button", name="Renew now").click()


def sign_out(page: Any, how: str = "Sign out") -> None:
    """Sign out, and wait for the sign-in page.

    The address of the sign-in page contains ``next`` if the page's script opens it. The script does
    this if another tab reports the sign-out before the response to the form arrives.
    """
    page.locator("main").get_by_role("button", name=how, exact=True).click()
    page.wait_for_url(re.compile(r"/login\?(next=[^&]*&)?reason=SignedOut$"))


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


def test_renew_now_does_not_reload_the_page(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.evaluate("window.here = true")
    show_developers(page)
    claim = page.locator("#claims tr", has=page.locator("code", has_text="exp")).locator("td")
    before = claim.inner_text()
    renew(page)
    page.locator("#life .mark").wait_for(state="attached")
    wait_until(page, f"!document.querySelector('#claims').innerText.includes('{before}')")
    assert int(claim.inner_text()) == valid_until(page)
    assert page.evaluate("window.here")
    assert page.get_by_role("status").inner_text() == "Renewed."
    again = page.get_by_role("button", name="Renew now")
    for _ in range(2):  # two tokens of the same second have the same expiry
        with page.expect_response("**/session"):
            again.click()
        wait_until(page, "document.querySelector('output').value === 'Renewed.'")
    window.set_offline(True)
    again.click()
    page.locator(".authapp-notice").wait_for()
    assert page.locator("output").inner_text() == ""


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


def test_unsent_form_is_restored_after_sign_in(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    (page,) = open_tabs(window, site, 1, "/form")
    form = page.locator("#letter")
    form.locator("[name=title]").fill('half "written"')
    form.locator("textarea").fill("two\nlines")
    form.locator("[type=checkbox]").check()
    form.locator("select").select_option("b")
    for secret in ("pin", "card"):
        form.locator(f"[name={secret}]").fill("4242 4242")
    pass_time(site, 240, page)
    page.locator("dialog.authapp-cover[open]").wait_for()
    assert "4242" not in page.evaluate("JSON.stringify({...sessionStorage})")
    page.get_by_role("link", name="Sign in").last.click()
    # After the sign-in, the page has one more field.
    page.context.add_init_script(
        "addEventListener('DOMContentLoaded', () => document.querySelector('#letter')?.prepend("
        "Object.assign(document.createElement('input'), { type: 'checkbox', name: 'all' })))"
    )
    page.fill("#username", "alice")
    page.fill("#password", "alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/form")
    wait_until(page, "document.querySelector('[name=title]').value === 'half \"written\"'")
    assert form.locator("textarea").input_value() == "two\nlines"
    assert form.locator("[name=yes]").is_checked()
    assert not form.locator("[name=all]").is_checked()
    assert form.locator("select").input_value() == "b"
    assert form.locator("[name=pin]").input_value() == form.locator("[name=card]").input_value()
    assert form.locator("[name=pin]").input_value() == ""
    assert page.evaluate("sessionStorage.authappDraft") is None


def test_unsent_form_is_not_shown_to_another_user(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="240")
    (page,) = open_tabs(window, site, 1, "/form")
    page.locator("[name=title]").fill("alice's own")
    pass_time(site, 240, page)
    page.locator("dialog.authapp-cover[open]").wait_for()
    sign_in(page, site, "bob", "/form")
    assert page.locator("[name=title]").input_value() == ""
    assert "own" not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_tabs_stay_signed_in_while_offline_and_recover(serve: Any, window: Any) -> None:
    site = serve(6)
    pages = open_tabs(window, site, 2)
    asked: list[str] = []
    window.on(
        "request", lambda request: asked.extend([request.url] * request.url.endswith("/session"))
    )
    pages[0].evaluate("document.addEventListener('authapp:unavailable', () => window.away = true)")
    window.set_offline(True)
    # Only the tab that sends the request shows the notice at first.
    deadline = time.monotonic() + 15
    notices = [page.locator(".authapp-notice") for page in pages]
    while not any(notice.count() for notice in notices):
        assert time.monotonic() < deadline
        pages[0].wait_for_timeout(50)
    assert len(asked) <= 4
    window.set_offline(False)
    for page, notice in zip(pages, notices, strict=True):
        notice.wait_for(state="detached", timeout=15_000)
        assert page.locator("#name").inner_text() == "alice"
        assert page.url == site.url + "/account"
    assert site.log.count('"SessionEnded"') == 0


def test_tab_stays_signed_in_while_the_server_is_down(serve: Any, window: Any) -> None:
    site = serve(5)
    (page,) = open_tabs(window, site, 1)
    site.stop()
    page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
    site.start()
    page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
    assert page.url == site.url + "/account"


OTHER_SERVERS = [
    (200, "text/html", "<h1>Welcome to the hotel's network</h1>"),
    (200, "application/json", "{}"),
    (401, "application/json", "{}"),
    (401, "text/html", "who are you?"),
    (403, "application/json", "{}"),
    (500, "text/html", "oh"),
]


def test_tab_stays_signed_in_after_responses_of_other_servers(serve: Any, window: Any) -> None:
    """Threat B8. If a gateway or a captive portal responds instead of the site, the tab stays
    signed in."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.evaluate("window.here = true")
    show_developers(page)
    answer: dict[str, Any] = {}
    for status, kind, body in OTHER_SERVERS:
        answer.update(status=status, content_type=kind, body=body)
        page.route("**/session", lambda route: route.fulfill(**answer))
        page.get_by_role("button", name="Renew now").click()
        page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
        assert page.url == site.url + "/account", answer
        page.unroute("**/session")
        page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
        assert page.locator("#name").inner_text() == "alice", answer
        assert page.evaluate("window.here"), answer


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_signs_nobody_out(serve: Any, chromium: Any, hours: int) -> None:
    site = serve(6)
    window = chromium.new_context(locale="en")
    window.clock.install(time=time.time() + hours * 3600)
    (page,) = open_tabs(window, site, 1)
    before = valid_until(page)
    page.clock.run_for(4000)
    wait_until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    window.clock.set_system_time((time.time() - 2 * hours * 3600) * 1000)
    before = valid_until(page)
    wait_until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    assert page.locator("dialog.authapp-cover").count() == 0
    window.close()


def test_tabs_send_few_requests_after_sleep(serve: Any, chromium: Any) -> None:
    site = serve(300)
    window = chromium.new_context(locale="en")
    window.clock.install()
    pages = open_tabs(window, site, 3)
    asked: list[str] = []
    window.on(
        "request", lambda request: asked.extend([request.url] * request.url.endswith("/session"))
    )
    window.clock.fast_forward(8 * 3600 * 1000)  # eight hours in which no timer ran
    for _ in range(5):
        for page in pages:
            page.evaluate("window.dispatchEvent(new Event('focus'))")
        pages[0].wait_for_timeout(100)
    # One tab asks the site. A tab whose clock moves after it got the result may ask again.
    assert 1 <= len(asked) <= 3
    assert all(page.url == site.url + "/account" for page in pages)
    window.close()


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


def test_application_can_use_session_js_without_page_js(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.goto(site.url + "/alone")
    wait_until(page, "window.authapp?.session.user")
    status = "async ([path, method]) => (await authapp.fetch(path, { method })).status"
    assert page.evaluate(status, ["/form", "POST"]) == 200, "authapp.fetch sends the CSRF token"
    assert page.evaluate("fetch('/form', { method: 'POST' }).then(a => a.status)") == 403
    page.evaluate("document.addEventListener('authapp:ended', (e) => e.preventDefault())")
    page.evaluate("document.addEventListener('authapp:ended', (e) => window.code = e.detail.code)")
    window.clear_cookies()
    assert page.evaluate(status, ["/api/me", "GET"]) == 401
    assert page.evaluate("window.code") == "SignedOut"
    assert page.url == site.url + "/alone", "the application handles the end itself"


def test_renew_works_before_any_other_request(serve: Any, window: Any) -> None:
    """``renew()`` works even if it is the first request of the script, which then has no CSRF token
    yet."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.goto(site.url + "/alone")
    wait_until(page, "window.authapp?.session.user")
    asked: list[tuple[str, int]] = []
    page.on("response", lambda answer: asked.append((answer.request.method, answer.status)))
    page.evaluate(
        "import('/authapp-static/session.js').then(it =>"
        " it.watchSession({ url: '/session', login: '/login' }).renew())"
    )
    assert ("POST", 200) in asked
    assert ("POST", 403) not in asked


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


def test_open_form_gets_the_new_csrf_token_after_another_sign_in(serve: Any, window: Any) -> None:
    site = serve(300)
    first, second = open_tabs(window, site, 2, "/form")
    second.evaluate("window.here = true")
    first.context.clear_cookies()
    sign_in(first, site, path="/form")
    token = first.locator("#letter [name=csrf_token]").get_attribute("value")
    wait_until(second, f"document.querySelector('#letter [name=csrf_token]').value === '{token}'")
    assert second.evaluate("window.here"), "the page must not reload"


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


def test_a_page_whose_path_looks_like_a_host_stays_on_the_site(serve: Any, window: Any) -> None:
    """Threat S9. A page at ``//evil.example/x`` on this site does not make the browser leave the
    site."""
    site = serve(300)
    page, other = open_tabs(window, site, 2)
    page.goto(site.url + "//evil.example/x")
    window.clear_cookies()
    sign_in(other, site, "bob")
    page.locator(".authapp-notice", has_text="Someone else").wait_for()
    page.get_by_role("link", name="bob").wait_for()
    assert page.url == site.url + "//evil.example/x"


def test_retry_after_date_does_not_cause_repeated_requests(serve: Any, window: Any) -> None:
    """``Retry-After`` may be a date (RFC 9110 section 10.2.3). If the date is in the past, the
    script does not repeat its request without a pause."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        date = "Fri, 31 Dec 1999 23:59:59 GMT"
        route.fulfill(status=503, headers={"Retry-After": date}, body="{}")

    page.route("**/session", refuse)
    renew(page)
    page.wait_for_timeout(5000)
    assert len(asked) <= 3


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


OPTIONS = """{"url": "/x", "login": "javascript:window.harmed=1", "session": {}}"""


@pytest.mark.parametrize(
    "content",
    [
        f"<meta name=authapp content='{OPTIONS}'>",
        f"<form name=head><meta name=authapp content='{OPTIONS}'></form>",
        f"<head><meta name=authapp content='{OPTIONS}'></head>",
        f"<svg><head><meta name=authapp content='{OPTIONS}'></head></svg>",
        f"<img name=querySelector><meta name=authapp content='{OPTIONS}'>",
    ],
)
def test_options_in_the_page_body_are_not_read(serve: Any, window: Any, content: str) -> None:
    """If the page body contains hostile options for the script, the browser still goes to authapp's
    own sign-in page when the session ends."""
    site = serve(300)
    (page,) = open_tabs(window, site, 1)
    page.goto(site.url + "/hostile?" + urlencode({"content": content}))
    wait_until(page, "window.authapp?.session.user")
    window.clear_cookies()
    page.evaluate("window.authapp.renew()")
    page.wait_for_url("**/login?next=*&reason=SignedOut")


FULL = """
for (let size = 1 << 22; size; size >>= 1)
	try {
		for (let number = 0; ; number++) sessionStorage[`${size} ${number}`] = "x".repeat(size);
	} catch {}
"""


@pytest.mark.parametrize(
    ("content", "script"),
    [
        ("<form action='http://['><input name=csrf_token></form>", ""),
        ("<form><input name=csrf_token><button formaction='https://a:99999/'></form>", ""),
        ("", FULL),
    ],
)
def test_content_of_the_page_does_not_stop_the_script(
    serve: Any, window: Any, content: str, script: str
) -> None:
    """If the page has a form whose address is invalid, or has filled the storage of the tab, the
    script still renews and ends the session."""
    site = serve(300)
    window.add_init_script(script)
    (page,) = open_tabs(window, site, 1)
    page.goto(site.url + "/hostile?" + urlencode({"content": content}))
    wait_until(page, "window.authapp?.session.user")
    page.evaluate("window.authapp.renew()")
    window.clear_cookies()
    page.evaluate("window.authapp.renew()")
    page.wait_for_url("**/login?next=*&reason=SignedOut")


ELSEWHERE = [
    "javascript:alert(1)",
    "https://evil.example/",
    "//evil.example",
    "data:,x",
    "\\\\evil.example",
]


def test_addresses_of_other_sites_are_refused(serve: Any, window: Any) -> None:
    page = window.new_page()
    page.goto(serve(300).url + "/alone")
    for option, address in product(("url", "login"), ELSEWHERE):
        said = page.evaluate(
            "([option, address]) => import('/authapp-static/session.js')"
            ".then((it) => it.watchSession({ [option]: address })).catch(String)",
            [option, address],
        )
        assert "is not an address of this site" in said, (option, address)
