"""session.js and page.js: what applications do with them, and pages that could mislead them."""

from itertools import product
from typing import Any
from urllib.parse import urlencode

import pytest

from browser.tabs import open_tabs, renew, show_developers, sign_in, valid_until, wait_until


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
