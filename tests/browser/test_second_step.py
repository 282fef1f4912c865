"""Sign-in with a second factor in Chromium, with ``pserve`` and django-allauth."""

from collections.abc import Iterator
from typing import Any

import pytest

from browser.axe import violations
from served_site import ServedSite
from servers.process import Process, serve

TWO_CLICKS = """() => {
  let sent = 0;
  addEventListener("submit", (event) => { sent += !event.defaultPrevented; });
  const button = document.getElementById("send-code");
  button.click();
  button.click();
  return [sent, button.textContent];
}"""


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve("allauth_app.py", tmp_path_factory.mktemp("allauth")) as served:
        yield served


@pytest.fixture(scope="module")
def site(django: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    keys = {
        "authapp.backend.url": django.url,
        "authapp.backend.preset": "allauth",
        "authapp.backend.verify": "",
    }
    site = ServedSite(tmp_path_factory.mktemp("site"), keys)
    yield site
    site.stop()


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("kind", ["totp", "recovery"])
def test_sign_in_with_a_code(
    chromium: Any, site: ServedSite, django: Process, kind: str, scripts: bool
) -> None:
    django.set()  # allauth forgets the codes that were used
    window = chromium.new_context(java_script_enabled=scripts, locale="en")
    page = window.new_page()
    page.goto(site.url + "/account")
    page.locator("#username:focus").wait_for()  # Chromium gives the focus when it paints
    page.keyboard.type("dave")
    page.keyboard.press("Tab")
    page.keyboard.type("dave-password")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login/challenge?next=%2Faccount")
    page.locator("#code:focus").wait_for()
    page.keyboard.type("000000")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "not correct" in page.get_by_role("alert").inner_text()
    codes = django.set()["codes"]
    page.keyboard.type(codes["totp"] if kind == "totp" else codes["recovery"][0])
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/account")
    assert page.locator("#email").inner_text() == "dave@example.com"
    window.close()


def test_a_second_click_does_not_send_the_code_again(
    chromium: Any, site: ServedSite, django: Process
) -> None:
    django.set()
    window = chromium.new_context(locale="en")
    page = window.new_page()
    page.goto(site.url + "/login?next=%2Faccount")
    page.fill("#username", "dave")
    page.fill("#password", "dave-password")
    page.click("#submit")
    page.wait_for_url("**/login/challenge*")
    page.fill("#code", django.set()["codes"]["totp"])
    assert page.evaluate(TWO_CLICKS) == [1, "Signing in…"]
    page.wait_for_url(site.url + "/account")
    window.close()


def test_page_of_the_code_is_accessible_and_can_be_cancelled(
    chromium: Any, site: ServedSite
) -> None:
    window = chromium.new_context(viewport={"width": 320, "height": 640}, locale="en")
    page = window.new_page()
    page.goto(site.url + "/login?next=%2Faccount%3Fa%3D1")
    page.locator("#username:focus").wait_for()
    page.keyboard.type("dave")
    page.keyboard.press("Tab")
    page.keyboard.type("dave-password")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login/challenge*")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/login?next=%2Faccount%3Fa%3D1")
    assert [each["name"] for each in window.cookies() if "challenge" in each["name"]] == []
    window.close()
