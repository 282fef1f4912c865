"""``make screenshots``: every page, at phone and desktop width, light and dark."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from browser.chromium import FLAGS, PROGRAM
from served_site import ServedSite

WIDTHS = {"phone": (360, 740), "desktop": (1100, 720)}


def shoot(page: Page, site: ServedSite, folder: Path, suffix: str) -> None:
    """Walk through the site and keep a picture of each page."""

    def keep(name: str) -> None:
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=True)

    page.goto(site.url + "/")
    keep("home-anonymous")
    page.goto(site.url + "/account")
    keep("login")
    page.fill("#username", "bob")
    page.fill("#password", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem")
    keep("login-refused")
    page.fill("#password", "bob-password")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    page.wait_for_timeout(12_000)  # so that the bar has something to show
    page.get_by_role("button", name="Renew now").click()
    page.locator("#life .mark").wait_for(state="attached")
    page.wait_for_timeout(8_000)
    keep("account")
    for name, path in {
        "home": "/",
        "forbidden": "/admin",
        "unavailable": "/unavailable",
        "not-found": "/nowhere",
        "logout": "/logout",
    }.items():
        page.goto(site.url + path)
        keep(name)
    page.goto(site.url + "/form")
    page.fill("[name=title]", "To whom it may concern")
    page.context.clear_cookies()
    page.evaluate("import('/authapp-static/page.js').then((it) => it.session.renew())")
    page.wait_for_url("**/login?next=%2Fform&reason=SignedOut")
    page.fill("#username", "bob")
    page.fill("#password", "bob-password")
    page.keyboard.press("Enter")
    page.wait_for_url("**/form")
    keep("form-restored")
    page.goto(site.url + "/logout")
    page.locator("main").get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/login?reason=SignedOut")
    keep("signed-out")


def main(folder: Path) -> None:
    """Serve the site and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        lives = {"issuer.access_lifetime": "40", "issuer.refresh_lifetime": "120"}
        site = ServedSite(Path(temporary), {**lives, "pyramid.includes": "letter_pages"})
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        for width, (across, down) in WIDTHS.items():
            for scheme in ("light", "dark"):
                window = browser.new_context(
                    viewport={"width": across, "height": down}, color_scheme=scheme, locale="en"
                )
                shoot(window.new_page(), site, folder, f"{width}-{scheme}")
                window.close()
        browser.close()
        site.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
