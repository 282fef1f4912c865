"""Sessions in several tabs, asleep, offline and at their end: Chromium, ``pserve``, seconds."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from browser.axe import violations
from served_site import ServedSite


def keep_faults(page: Any, faults: list[str]) -> None:
    """Note what a page complains of, but for what Chromium says of a server that is away."""
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


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServedSite]]:
    sites = []

    def start(access: int, **more: str) -> ServedSite:
        lives = {"issuer.access_lifetime": str(access)}
        settings = {f"issuer.{key}": value for key, value in more.items()}
        settings["pyramid.includes"] = "letter_pages"
        sites.append(ServedSite(tmp_path, lives | settings))
        return sites[-1]

    yield start
    for site in sites:
        site.stop()


@pytest.fixture
def window(chromium: Any) -> Iterator[Any]:
    """One browser with many tabs."""
    window = chromium.new_context(locale="en", viewport={"width": 1000, "height": 700})
    faults: list[str] = []
    window.on("page", lambda page: keep_faults(page, faults))
    yield window
    window.close()
    assert faults == []


def until(page: Any, expression: str, seconds: float = 15) -> None:
    """Wait for something to be true in a page, whose policy forbids Playwright's own way."""
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


def tabs(window: Any, site: ServedSite, number: int, path: str = "/account") -> list[Any]:
    """Tabs of one signed-in user."""
    pages = [window.new_page() for _ in range(number)]
    sign_in(pages[0], site, path=path)
    for page in pages[1:]:
        page.goto(site.url + path)
    return pages


def valid_until(page: Any) -> int:
    """Until when access is valid, as the page tells."""
    return int(page.locator("#valid-until time").get_attribute("data-seconds"))


def renew(page: Any) -> None:
    """Press the button, in a second in which a new token ends later than the old one."""
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Renew now").click()


def sign_out(page: Any, how: str = "Sign out") -> None:
    page.locator("main").get_by_role("button", name=how, exact=True).click()
    page.wait_for_url("**/login?reason=SignedOut")


@pytest.mark.parametrize("how", ["Sign out", "Sign out everywhere"])
def test_sign_out_takes_all_tabs_along_and_sign_in_brings_them_back(
    serve: Any, window: Any, how: str
) -> None:
    site = serve(300)
    pages = tabs(window, site, 5)
    pages[3].goto(site.url + "/?of=tab3")
    sign_out(pages[0], how)
    for page in pages[1:]:
        page.wait_for_url("**/login?next=*reason=SignedOut", timeout=1000)
        assert "You are signed out." in page.locator("main").inner_text()
    sign_in(pages[0], site)
    for page in pages[1:]:
        page.wait_for_url(site.url + ("/?of=tab3" if page is pages[3] else "/account"))


def test_another_user_is_announced_and_the_pages_are_loaded_anew(serve: Any, window: Any) -> None:
    site = serve(300)
    first, second, waits = tabs(window, site, 3)
    window.clear_cookies()  # as if the session had ended
    sign_in(first, site, "bob")
    for page in (second, waits):
        page.locator(".authapp-notice", has_text="Someone else").wait_for(timeout=1000)
    for page in (second, waits):
        page.locator("#name", has_text="bob").wait_for()


def test_one_of_five_tabs_renews_and_all_know(serve: Any, window: Any) -> None:
    site = serve(8)
    pages = tabs(window, site, 5)
    asked: list[str] = []
    window.on("request", lambda request: asked.extend([request.url] * ("/session" in request.url)))
    before = valid_until(pages[0])
    for page in pages:
        page.evaluate("document.addEventListener('authapp:renewed', () => window.heard = true)")
    for page in pages:
        until(page, "window.heard")
        assert valid_until(page) > before
        assert page.locator("#life .mark").count() == 1
    assert site.log.count('"SessionRenewed"') == 1
    assert len(asked) == 1


def test_renew_now_stays_on_the_page(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = tabs(window, site, 1)
    page.evaluate("window.here = true")
    claim = page.locator("#claims tr", has=page.locator("code", has_text="exp")).locator("td")
    before = claim.inner_text()
    renew(page)
    page.locator("#life .mark").wait_for(state="attached")
    until(page, f"!document.querySelector('#claims').innerText.includes('{before}')")
    assert int(claim.inner_text()) == valid_until(page)
    assert page.evaluate("window.here")
    assert page.get_by_role("status").inner_text() == "Renewed."
    again = page.get_by_role("button", name="Renew now")
    for _ in range(2):  # two tokens of one second end at the same time
        with page.expect_response("**/session"):
            again.click()
        until(page, "document.querySelector('output').value === 'Renewed.'")
    window.set_offline(True)
    again.click()
    page.locator(".authapp-notice").wait_for()
    assert page.locator("output").inner_text() == ""


def test_the_end_is_announced_and_covers_the_page(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="10")
    page, other = tabs(window, site, 2)
    page.evaluate("document.addEventListener('authapp:ended', (e) => window.code = e.detail.code)")
    notice = page.locator(".authapp-notice[role=status]")
    notice.wait_for()
    assert "ends soon" in notice.inner_text()
    assert violations(page) == []
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


def test_a_half_written_form_is_there_again(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="6")
    (page,) = tabs(window, site, 1, "/form")
    form = page.locator("#letter")
    form.locator("[name=title]").fill('half "written"')
    form.locator("textarea").fill("two\nlines")
    form.locator("[type=checkbox]").check()
    form.locator("select").select_option("b")
    for secret in ("pin", "card"):
        form.locator(f"[name={secret}]").fill("4242 4242")
    page.locator("dialog.authapp-cover[open]").wait_for()
    assert "4242" not in page.evaluate("JSON.stringify({...sessionStorage})")
    page.get_by_role("link", name="Sign in").last.click()
    # The page has one field more when it is seen again.
    page.context.add_init_script(
        "addEventListener('DOMContentLoaded', () => document.querySelector('#letter')?.prepend("
        "Object.assign(document.createElement('input'), { type: 'checkbox', name: 'all' })))"
    )
    page.fill("#username", "alice")
    page.fill("#password", "alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/form")
    assert form.locator("[name=title]").input_value() == 'half "written"'
    assert form.locator("textarea").input_value() == "two\nlines"
    assert form.locator("[name=yes]").is_checked()
    assert not form.locator("[name=all]").is_checked()
    assert form.locator("select").input_value() == "b"
    assert form.locator("[name=pin]").input_value() == form.locator("[name=card]").input_value()
    assert form.locator("[name=pin]").input_value() == ""
    assert page.evaluate("sessionStorage.authappDraft") is None


def test_what_one_user_typed_is_not_shown_to_the_next(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="6")
    (page,) = tabs(window, site, 1, "/form")
    page.locator("[name=title]").fill("alice's own")
    page.locator("dialog.authapp-cover[open]").wait_for()
    sign_in(page, site, "bob", "/form")
    assert page.locator("[name=title]").input_value() == ""
    assert "own" not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_offline_signs_nobody_out_and_it_goes_on_by_itself(serve: Any, window: Any) -> None:
    site = serve(6)
    pages = tabs(window, site, 2)
    asked: list[str] = []
    window.on("request", lambda request: asked.extend([request.url] * ("/session" in request.url)))
    pages[0].evaluate("document.addEventListener('authapp:unavailable', () => window.away = true)")
    window.set_offline(True)
    # Whichever tab asks is the one that tells.
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


def test_a_server_that_is_away_signs_nobody_out(serve: Any, window: Any) -> None:
    site = serve(5)
    (page,) = tabs(window, site, 1)
    site.stop()
    page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
    site.start()
    page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
    assert page.url == site.url + "/account"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<h1>Welcome to the hotel's network</h1>"),
        (200, "application/json", "{}"),
        (401, "application/json", "{}"),
        (401, "text/html", "who are you?"),
        (403, "application/json", "{}"),
        (500, "text/html", "oh"),
    ],
)
def test_what_others_answer_signs_nobody_out(
    serve: Any, window: Any, status: int, kind: str, body: str
) -> None:
    """B8. A gateway, or a network that wants to be paid first."""
    site = serve(300)
    (page,) = tabs(window, site, 1)
    page.route(
        "**/session", lambda route: route.fulfill(status=status, body=body, content_type=kind)
    )
    page.get_by_role("button", name="Renew now").click()
    page.locator(".authapp-notice", has_text="Nothing is lost").wait_for()
    assert page.url == site.url + "/account"
    page.unroute("**/session")
    page.locator(".authapp-notice").wait_for(state="detached", timeout=20_000)
    assert page.locator("#name").inner_text() == "alice"


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_signs_nobody_out(serve: Any, chromium: Any, hours: int) -> None:
    site = serve(6)
    window = chromium.new_context(locale="en")
    window.clock.install(time=time.time() + hours * 3600)
    (page,) = tabs(window, site, 1)
    before = valid_until(page)
    page.clock.run_for(4000)
    until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    window.clock.set_system_time((time.time() - 2 * hours * 3600) * 1000)
    before = valid_until(page)
    until(page, f"document.querySelector('#valid-until time').dataset.seconds > {before}")
    assert page.locator("dialog.authapp-cover").count() == 0
    window.close()


def test_after_sleep_one_question_tells(serve: Any, chromium: Any) -> None:
    site = serve(300)
    window = chromium.new_context(locale="en")
    window.clock.install()
    pages = tabs(window, site, 3)
    asked: list[str] = []
    window.on("request", lambda request: asked.extend([request.url] * ("/session" in request.url)))
    window.clock.fast_forward(8 * 3600 * 1000)  # a night, of which timers saw nothing
    for _ in range(5):
        for page in pages:
            page.evaluate("window.dispatchEvent(new Event('focus'))")
        pages[0].wait_for_timeout(100)
    # One tab asks; here another may do so whose clock was moved after it had heard.
    assert 1 <= len(asked) <= 3
    assert all(page.url == site.url + "/account" for page in pages)
    window.close()


def test_without_broadcast_and_locks_tabs_still_know(serve: Any, window: Any) -> None:
    site = serve(300)
    window.add_init_script(
        "delete globalThis.BroadcastChannel;"
        "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
    )
    first, second = tabs(window, site, 2)
    renew(first)
    second.locator("#life .mark").wait_for(state="attached")
    sign_out(first)
    second.wait_for_url("**/login?next=*reason=SignedOut", timeout=1000)
    until(first, "localStorage.length === 0")  # one tab's storage is a moment behind another's


def test_an_application_uses_the_module_alone(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = tabs(window, site, 1)
    page.goto(site.url + "/alone")
    until(page, "window.authapp?.session.user")
    status = "async ([path, method]) => (await authapp.fetch(path, { method })).status"
    assert page.evaluate(status, ["/form", "POST"]) == 200, "the CSRF token goes along"
    assert page.evaluate("fetch('/form', { method: 'POST' }).then(a => a.status)") == 403
    page.evaluate("document.addEventListener('authapp:ended', (e) => e.preventDefault())")
    page.evaluate("document.addEventListener('authapp:ended', (e) => window.code = e.detail.code)")
    window.clear_cookies()
    assert page.evaluate(status, ["/api/me", "GET"]) == 401
    assert page.evaluate("window.code") == "SignedOut"
    assert page.url == site.url + "/alone", "the application shows it itself"


def test_it_can_be_renewed_at_once(serve: Any, window: Any) -> None:
    """Before anything was asked the module has no CSRF token."""
    site = serve(300)
    (page,) = tabs(window, site, 1)
    page.goto(site.url + "/alone")
    until(page, "window.authapp?.session.user")
    asked: list[tuple[str, int]] = []
    page.on("response", lambda answer: asked.append((answer.request.method, answer.status)))
    page.evaluate(
        "import('/authapp-static/session.js').then(it =>"
        " it.watchSession({ url: '/session', login: '/login' }).renew())"
    )
    assert ("POST", 200) in asked
    assert ("POST", 403) not in asked


def test_a_session_that_is_gone_when_it_is_to_be_renewed_was_signed_out(
    serve: Any, window: Any
) -> None:
    site = serve(300)
    (page,) = tabs(window, site, 1)
    window.clear_cookies()
    page.get_by_role("button", name="Renew now").click()
    page.wait_for_url("**/login?next=%2Faccount&reason=SignedOut")


def test_back_after_sign_out_shows_no_private_page(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = tabs(window, site, 1)
    sign_out(page)
    page.go_back()
    page.wait_for_url("**/login?*")
    assert "alice@example.com" not in page.content()


def test_a_form_from_before_a_new_sign_in_still_works(serve: Any, window: Any) -> None:
    site = serve(300)
    first, second = tabs(window, site, 2, "/form")
    second.evaluate("window.here = true")
    first.context.clear_cookies()
    sign_in(first, site, path="/form")
    token = first.locator("#letter [name=csrf_token]").get_attribute("value")
    until(second, f"document.querySelector('#letter [name=csrf_token]').value === '{token}'")
    assert second.evaluate("window.here"), "without being loaded anew"


def test_a_reason_in_the_address_is_not_believed(serve: Any, window: Any) -> None:
    """The page to sign in was made before somebody did so in another tab."""
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


def test_a_page_that_asks_before_it_is_left_is_covered(serve: Any, window: Any) -> None:
    site = serve(300)
    page, other = tabs(window, site, 2)
    page.evaluate("addEventListener('beforeunload', (event) => event.preventDefault())")
    page.locator("h1").click()  # only then may a page ask
    page.on("dialog", lambda dialog: dialog.dismiss())
    sign_out(other)
    page.locator("dialog.authapp-cover[open]").wait_for()
    assert page.url == site.url + "/account"


def test_more_typed_than_the_browser_keeps_still_ends(serve: Any, window: Any) -> None:
    site = serve(300)
    (page,) = tabs(window, site, 1, "/form")
    page.evaluate("document.querySelector('textarea').value = 'x'.repeat(6_000_000)")
    window.clear_cookies()
    page.evaluate("import('/authapp-static/page.js').then((it) => it.session.renew())")
    page.wait_for_url("**/login?next=%2Fform&reason=SignedOut")


def test_a_page_whose_path_looks_like_a_host_stays_on_the_site(serve: Any, window: Any) -> None:
    """S9."""
    site = serve(300)
    page, other = tabs(window, site, 2)
    page.goto(site.url + "//evil.example/x")
    window.clear_cookies()
    sign_in(other, site, "bob")
    page.locator(".authapp-notice", has_text="Someone else").wait_for()
    page.get_by_role("link", name="bob").wait_for()
    assert page.url == site.url + "//evil.example/x"


def test_a_retry_after_that_is_a_date_makes_no_storm(serve: Any, window: Any) -> None:
    """RFC 9110 section 10.2.3 allows it."""
    site = serve(300)
    (page,) = tabs(window, site, 1)
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        date = "Fri, 31 Dec 1999 23:59:59 GMT"
        route.fulfill(status=503, headers={"Retry-After": date}, body="{}")

    page.route("**/session", refuse)
    renew(page)
    page.wait_for_timeout(5000)
    assert len(asked) <= 3


def test_a_page_for_everybody_hears_of_a_sign_in(serve: Any, window: Any) -> None:
    site = serve(300)
    public, other = window.new_page(), window.new_page()
    public.goto(site.url + "/")
    public.evaluate(
        "document.body.append(Object.assign(document.createElement('input'),"
        " { name: 'csrf_token', value: 'of before' }))"
    )
    sign_in(other, site)
    until(public, "document.querySelector('[name=csrf_token]').value.length === 64")


def test_the_cover_hides_the_page_without_a_stylesheet(serve: Any, window: Any) -> None:
    site = serve(300, session_lifetime="6")
    (page,) = tabs(window, site, 1)
    page.goto(site.url + "/alone")
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
def test_what_another_user_wrote_into_a_page_is_not_read(
    serve: Any, window: Any, content: str
) -> None:
    """The session ends, and the link that covers the page leads to our sign-in."""
    site = serve(300)
    (page,) = tabs(window, site, 1)
    page.goto(site.url + "/hostile?" + urlencode({"content": content}))
    until(page, "window.authapp?.session.user")
    window.clear_cookies()
    page.evaluate("window.authapp.renew()")
    page.wait_for_url("**/login?next=*&reason=SignedOut")


@pytest.mark.parametrize("option", ["url", "login"])
@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "https://evil.example/",
        "//evil.example",
        "data:,x",
        "\\\\evil.example",
    ],
)
def test_addresses_of_other_sites_are_refused(
    serve: Any, window: Any, option: str, address: str
) -> None:
    page = window.new_page()
    page.goto(serve(300).url + "/alone")
    said = page.evaluate(
        "([option, address]) => import('/authapp-static/session.js')"
        ".then((it) => it.watchSession({ [option]: address })).catch(String)",
        [option, address],
    )
    assert "is not an address of this site" in said
