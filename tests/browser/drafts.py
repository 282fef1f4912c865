"""What tests of drafts do: show a form, end the session, and come back after signing in again."""

import json
from typing import Any
from urllib.parse import urlencode

from browser.tabs import wait_until
from served_site import ServedSite

DRAFT = "sessionStorage.authappDraft ?? null"


def show(page: Any, site: ServedSite, content: str) -> None:
    """Open a page of the application that contains this HTML."""
    page.goto(site.url + "/hostile?" + urlencode({"content": content}))
    wait_until(page, "window.authapp?.session.user")
    wait_until(page, "performance.getEntriesByType('resource').some(e => /ending/.test(e.name))")
    page.wait_for_timeout(50)  # then the module watches the session


def end_session(page: Any, lasting: bool = False) -> None:
    """Make the server respond that the session has ended.

    :param lasting: True for all later requests, False for one request.
    """
    body = json.dumps({"code": "RefreshTokenExpired", "login_url": "/login"})
    page.route("**/session", lambda route: route.fulfill(status=401, body=body))
    page.evaluate("void window.authapp.renew()")
    page.locator("dialog.authapp-cover[open]").wait_for()
    if not lasting:
        page.unroute("**/session")


def come_back(page: Any, site: ServedSite, content: str | None = None) -> None:
    """Open the page again, as a user does after signing in again.

    :param content: the new HTML of the page. None for the same HTML as before.
    """
    url = page.url
    if content is not None:
        page.route(url, lambda route: answer_with(route, content))
    page.goto(url)
    wait_until(page, "window.authapp?.session.user")
    wait_until(page, f"({DRAFT}) === null")


def answer_with(route: Any, content: str) -> None:
    answer = route.fetch()
    body = answer.text()
    start = body.index("written:</p>") + len("written:</p>")
    rest = body[body.index("<script", start) :]
    route.fulfill(response=answer, body=body[:start] + content + rest)
