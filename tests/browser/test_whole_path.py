"""Sign-in, renewal, restart and sign-out with Chromium, ``pserve`` and the embedded issuer."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from served_site import ServedSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ServedSite]:
    site = ServedSite(tmp_path, {"issuer.access_lifetime": "3"})
    yield site
    site.stop()


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    window = chromium.new_context(
        java_script_enabled=request.param,
        viewport={"width": 360, "height": 740} if request.param else None,
        locale="en",
    )
    page = window.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def note(message: Any) -> None:
        # Chromium reports Clear-Site-Data as information. The site refuses connections at restart.
        if message.type != "info" and "ERR_CONNECTION_REFUSED" not in message.text:
            problems.append(message.text)

    page.on("console", note)
    yield page
    window.close()
    assert problems == []


def valid_until(page: Any) -> int:
    """Return the expiry of the access token in Unix seconds, as the page shows it."""
    return int(page.locator("#valid-until time").get_attribute("data-seconds"))


def test_session_survives_renewal_and_restart_until_sign_out(site: ServedSite, page: Any) -> None:
    page.goto(site.url + "/account")
    assert page.url.endswith("/login?next=%2Faccount")
    assert "alice-password" in page.locator("table").inner_text()
    # Use the keyboard only. The user name field has the focus.
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/account")
    assert page.locator("#email").inner_text() == "alice@example.com"
    assert page.locator("#roles").inner_text().strip() == "admin"
    width = page.viewport_size["width"]
    if width == 360:
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    before = valid_until(page)
    while time.time() <= before:
        page.wait_for_timeout(100)
    page.reload()
    assert valid_until(page) > before, "a reload renews the session"

    (cookie,) = [c for c in page.context.cookies() if c["name"] == "authapp.session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")

    site.stop()
    site.start()
    page.reload()
    assert page.locator("#name").inner_text() == "alice", "a restart signs nobody out"

    while page.locator("main form button:focus").count() == 0:
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login?reason=SignedOut")
    assert "You are signed out." in page.locator("main").inner_text()
    page.goto(site.url + "/account")
    assert page.url.endswith("/login?next=%2Faccount")
