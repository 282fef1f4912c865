"""Only the server decides who is signed in. Messages, caches, clocks and page content do not."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from browser.tabs import sign_in, wait_until
from eventually import eventually
from served_site import ServedSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    changes = {"pyramid.includes": "letter_pages", "authapp.headers": "own"}
    site = ServedSite(tmp_path_factory.mktemp("hints"), changes)
    yield site
    site.stop()


def questions(page: Any) -> list[str]:
    """Return a list. The HTTP method of each later request for ``/session`` is added to it."""
    asked: list[str] = []
    page.on(
        "request", lambda each: asked.append(each.method) if each.url.endswith("/session") else None
    )
    return asked


def show(page: Any, site: ServedSite, content: str) -> None:
    page.goto(site.url + "/hostile?" + urlencode({"content": content}))
    wait_until(page, "window.authapp?.session.user")


SAY = """(message) => {
  const tabs = new BroadcastChannel('authapp:' + location.origin + '/session');
  tabs.postMessage(message); }"""


MESSAGES: list[Any] = [
    {"user": {"id": 2}},
    {"user": None},
    {},
    None,
    "out",
    7,
    {"authapp": "authapp 2"},
    {"authapp": "authapp 2", "at": 9e9, "session": {"user": {"id": 2}, "now": 1, "ahead": 0}},
    {"authapp": "authapp 2", "at": 9e9, "session": {"user": None, "now": 1, "ahead": 0}},
]


def test_a_message_is_a_hint_and_the_server_is_asked(
    window: Any, page: Any, site: ServedSite
) -> None:
    page.goto(site.url + "/form")
    other = window.new_page()
    other.goto(site.url + "/health")
    page.locator("[name=title]").fill("mine")
    page.evaluate("window.here = true; sessionStorage.authappDraft")
    asked = questions(page)
    entries = "performance.getEntriesByName(location.origin + '/session')"
    for number, message in enumerate(MESSAGES, 1):
        page.wait_for_timeout(1000)  # a page asks once in a second
        other.evaluate(SAY, message)
        wait_until(page, f"{entries}.length >= {number}")
        page.wait_for_timeout(300)
        assert asked == ["GET"] * number, message
        assert page.evaluate("window.here"), message
        assert page.locator("dialog.authapp-cover, .authapp-notice").count() == 0, message
        assert page.locator("[name=title]").input_value() == "mine", message


def test_a_flood_of_messages_asks_once_in_a_second(
    window: Any, page: Any, site: ServedSite
) -> None:
    page.goto(site.url + "/account")
    other = window.new_page()
    other.goto(site.url + "/health")
    asked = questions(page)
    other.evaluate(f"async () => {{ for (let i = 0; i < 500; i++) ({SAY})({{}}) }}")
    wait_until(page, "performance.getEntriesByName(location.origin + '/session').length")
    page.wait_for_timeout(2000)
    assert len(asked) <= 6


CLOBBERS = [
    "<form method=post><input type=file name=csrf_token></form>",
    "<form name=csrf_token></form>",
    "<output name=csrf_token></output>",
    "<form method=post><input name=csrf_token><input name=action value=x></form>",
    *(
        f"<img name={name}><form name={name}></form><img name={name}>"
        for name in (
            "hidden",
            "body",
            "createElement",
            "querySelectorAll",
            "getElementsByName",
            "dispatchEvent",
            "addEventListener",
            "documentElement",
        )
    ),
]


@pytest.mark.parametrize("content", CLOBBERS)
def test_elements_with_the_names_of_members_do_not_break_the_script(
    page: Any, site: ServedSite, content: str
) -> None:
    show(page, site, content)
    page.evaluate(
        "Document.prototype.addEventListener.call("
        "document, 'authapp:renewed', () => window.renewed = true)"
    )
    page.wait_for_timeout(1000)
    page.evaluate("window.authapp.renew()")
    assert page.evaluate("window.renewed")
    page.context.clear_cookies()
    page.evaluate("void window.authapp.renew()")
    page.wait_for_url("**/login?next=*&reason=SignedOut")


FORMS = """<form id=ours method=post action=/x><input name=csrf_token></form>
<form id=theirs method=post action=https://evil.example/x><input name=csrf_token></form>
<form id=base method=post action=//evil.example><input name=csrf_token><input name=action></form>
<form id=button method=post><input name=csrf_token><button formaction=https://evil.example>x</button></form>
<form id=far method=post></form><button form=far formaction=https://evil.example>x</button>
<input form=far name=csrf_token>"""


def test_the_token_goes_into_forms_of_our_origin_only(page: Any, site: ServedSite) -> None:
    show(page, site, FORMS)
    wait_until(page, "document.querySelector('#ours [name=csrf_token]').value.length === 64")
    rest = page.evaluate(
        "[...document.getElementsByName('csrf_token')]"
        ".filter(i => i.form.id !== 'ours').map(i => i.value)"
    )
    assert rest == [""] * 4


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_token_does_not_follow_a_redirect_to_another_origin(
    chromium: Any, site: ServedSite, method: str
) -> None:
    page = chromium.new_context(locale="en").new_page()
    sign_in(page, site)
    show(page, site, "")

    url = site.url.replace("127.0.0.1", "localhost")
    page.route(
        "**/leave", lambda route: route.fulfill(status=307, headers={"Location": f"{url}/health"})
    )
    other: list[dict[str, str]] = []
    page.on("request", lambda each: other.append(each.headers) if url in each.url else None)
    page.evaluate(
        "(method) => window.authapp.fetch('/leave', { method }).then(a => a.status).catch(String)",
        method,
    )
    assert all("x-csrf-token" not in headers for headers in other)
    page.context.close()


def test_fifty_unavailable_answers_ask_once(page: Any, site: ServedSite) -> None:
    show(page, site, "")
    page.wait_for_timeout(1100)
    asked = questions(page)
    page.route("**/busy", lambda route: route.fulfill(status=503, body="{}"))
    page.evaluate(
        "Promise.all(Array.from({ length: 50 }, () => window.authapp.fetch('/busy')))"
        ".then(all => all.length)"
    )
    # One request, or one a second on a busy machine.
    assert 1 <= len(asked) < 10


def test_a_clock_that_is_set_back_keeps_the_pauses(chromium: Any, site: ServedSite) -> None:
    window = chromium.new_context(locale="en")
    window.clock.install()
    page = window.new_page()
    sign_in(page, site)
    page.route("**/session", lambda route: route.abort())
    page.evaluate("import('/authapp-static/page.js').then((it) => it.session.renew())")
    page.locator(".authapp-notice").wait_for()
    asked = questions(page)
    window.clock.set_system_time((time.time() - 3600) * 1000)
    page.wait_for_timeout(5000)
    assert len(asked) <= 3
    window.close()


def test_offline_at_the_end_covers_the_page(chromium: Any, site: ServedSite) -> None:
    window = chromium.new_context(locale="en")
    window.clock.install()
    page = window.new_page()
    sign_in(page, site, path="/form")
    page.locator("[name=title]").fill("mine")
    ends = page.evaluate(
        "import('/authapp-static/page.js').then((it) => it.session.session.validity.refresh_until)"
    )
    window.set_offline(True)
    window.clock.fast_forward((ends - time.time()) * 1000)
    page.locator("dialog.authapp-cover[open]").wait_for()
    page.get_by_text("is kept in this tab").wait_for()
    assert page.get_by_role("dialog", name="Your session has ended").is_visible()
    window.close()


def test_eighty_tabs_ask_once_after_a_new_sign_in(chromium: Any, site: ServedSite) -> None:
    window = chromium.new_context(locale="en")
    first = window.new_page()
    sign_in(first, site)
    pages = [window.new_page() for _ in range(20)]
    for page in pages:
        page.goto(site.url + "/form", wait_until="commit")
    for page in pages:
        page.evaluate("import('/authapp-static/page.js').then(() => 0)")
    asked: list[str] = []
    window.on(
        "request", lambda each: asked.append(each.url) if each.url.endswith("/session") else None
    )
    window.clear_cookies()
    sign_in(first, site)
    token = "document.querySelector('#letter [name=csrf_token]').value"
    wait_until(pages[0], f"{token} !== ''")
    first.wait_for_timeout(2000)
    assert len(asked) <= 2
    new = first.evaluate("fetch('/session').then(a => a.json()).then(a => a.csrf_token)")
    for page in pages:
        assert page.evaluate(token) == new
    window.close()


def test_a_page_from_the_cache_does_not_move_the_clock(page: Any, site: ServedSite) -> None:
    page.goto(site.url + "/cached")
    page.goto(site.url + "/health")
    page.wait_for_timeout(4000)
    asked = questions(page)
    page.goto(site.url + "/cached")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].transferSize") == 0
    now = "import('/authapp-static/page.js').then((it) => it.session.now() - Date.now() / 1000)"
    wait_until(page, f"{now}.then((ahead) => Math.abs(ahead) < 2)")
    eventually(lambda: page.wait_for_timeout(50) or asked)
    assert set(asked) == {"GET"}


def test_a_note_comes_back_after_it_was_closed(page: Any, site: ServedSite) -> None:
    soon = """(left) => import('/authapp-static/page.js').then(({ session: it }) => {
        it.session.signed_in_at -= 3600;
        it.session.validity.refresh_until = it.now() + left;
    })"""
    page.goto(site.url + "/account")
    note = page.locator(".authapp-notice")
    for left in (100, 90):
        page.evaluate(soon, left)
        note.filter(has_text="Your session ends soon, in").wait_for()
        page.get_by_role("button", name="Close").click()
        note.wait_for(state="detached")
    page.evaluate(soon, 80)
    page.get_by_role("button", name="Stay signed in").click()
    note.wait_for(state="detached")


DIALOG = """() => { const it = document.createElement('dialog'); it.id = 'theirs';
  it.textContent = 'secret'; document.body.append(it); it.showModal(); }"""
POPOVER = """() => { const it = document.createElement('div'); it.popover = 'manual';
  it.style.cssText = 'inset:0;width:100%;height:100%';
  document.body.append(it); it.showPopover(); }"""
BODY = "() => document.body.replaceChildren()"
CLOSE = "() => document.querySelector('.authapp-cover').close()"
REMOVE = "() => document.querySelector('.authapp-cover').remove()"


@pytest.mark.parametrize("change", [DIALOG, POPOVER, BODY, CLOSE, REMOVE])
def test_the_cover_stays_on_top(page: Any, site: ServedSite, change: str) -> None:
    show(page, site, "<p>private</p>")
    body = json.dumps({"code": "RefreshTokenExpired", "login_url": "/login"})
    page.route("**/session", lambda route: route.fulfill(status=401, body=body))
    page.evaluate("void window.authapp.renew()")
    page.locator("dialog.authapp-cover[open]").wait_for()
    page.evaluate(change)
    page.wait_for_timeout(200)
    top = "document.elementFromPoint(500, 20).closest('.authapp-cover') !== null"
    wait_until(page, top)
    assert page.locator("dialog.authapp-cover a").evaluate("it => it === document.activeElement")
    page.unroute("**/session")
