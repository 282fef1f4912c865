"""What users and tests do in the tabs of Chromium: sign in and out, renew, wait, let time pass."""

import re
import time
from typing import Any

import requests

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
