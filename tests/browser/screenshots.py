"""Take pictures of every page and state (``make screenshots``).

Each picture is taken with the width of a phone and of a desktop, in light and in dark colors.
"""

import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

from browser.chromium import FLAGS, PROGRAM
from served_site import ServedSite
from servers.process import serve

WIDTHS = {"phone": (390, 844), "desktop": (1280, 800)}
SETTINGS = {
    "issuer.access_lifetime": "40",
    "pyramid.includes": "letter_pages",
    "authapp.login.rate": "6/minute",
    "authapp.login.links": "\n    Forgot password? = /reset\n    Create an account = /join",
}
WITH_PROVIDER = {
    "authapp.oidc.issuer": "http://127.0.0.1:9",  # no picture needs this address
    "authapp.oidc.client_id": "pages",
    "authapp.oidc.client_secret": "a secret that nobody uses",
    "authapp.oidc.label": "Example ID",
    "authapp.login.methods": "password oidc",
    "authapp.session.remember": "ask",
}
DEVICES = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
)
ENDED = {"code": "RefreshTokenExpired", "login_url": "/login"}
RENEW = "import('/authapp-static/page.js').then((it) => void it.session.renew())"
ENDS_SOON = """import('/authapp-static/page.js').then(({ session: it }) => {
    it.session.signed_in_at -= 3600;
    it.session.validity.refresh_until = it.now() + 100;
})"""


def sign_in(page: Page, site: ServedSite, path: str, name: str = "bob") -> None:
    """Fill in the sign-in form, and wait for the next page."""
    page.goto(f"{site.url}/login?next={quote(path, safe='')}")
    page.fill("#username", name)
    page.fill("#password", f"{name}-password")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: not url.startswith(site.url + "/login?"))


def sign_in_elsewhere(browser: Browser, site: ServedSite) -> None:
    """Sign the user in on other devices, for the page of the user's sessions."""
    for device in DEVICES:
        window = browser.new_context(user_agent=device)
        sign_in(window.new_page(), site, "/account")
        window.close()


def shoot(page: Page, site: ServedSite, folder: Path, suffix: str) -> None:
    """Walk through the site, and write a picture of each page to a folder."""

    def keep(name: str, whole: bool = True) -> None:
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=whole)

    page.goto(site.url + "/")
    keep("home-anonymous")
    page.goto(site.url + "/account")
    keep("login")
    page.fill("#username", "bob")
    page.fill("#password", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem")
    keep("login-refused")
    for _ in range(6):
        page.goto(site.url + "/login")
        page.fill("#username", f"nobody-{suffix}")
        page.fill("#password", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem")
    page.goto(site.url + "/login?next=%2Faccount")
    page.fill("#username", f"nobody-{suffix}")
    page.fill("#password", "wrong")
    page.click("#show-password")
    page.keyboard.press("Enter")
    page.wait_for_selector("#wait")
    keep("login-too-many")
    sign_in(page, site, "/account")
    keep("account")
    page.locator("#developers").evaluate("it => it.open = true")
    keep("account-developers")
    page.emulate_media(media="print")
    keep("account-print")
    page.emulate_media(media="screen")
    for name, path in {
        "home": "/",
        "sessions": "/account/sessions",
        "forbidden": "/admin",
        "unavailable": "/unavailable",
        "not-found": "/nowhere",
        "logout": "/logout",
    }.items():
        page.goto(site.url + path)
        keep(name)
    page.goto(site.url + "/form")
    page.fill("[name=title]", "To whom it may concern")
    page.evaluate(ENDS_SOON)
    page.locator(".authapp-notice").wait_for()
    keep("ends-soon", whole=False)
    page.route("**/session", lambda route: route.fulfill(status=401, body=json.dumps(ENDED)))
    page.evaluate(RENEW)
    page.get_by_text("is kept").or_(page.get_by_text("会保留")).wait_for()
    keep("ended", whole=False)
    page.unroute("**/session")
    page.goto(site.url + "/logout")
    page.locator("main button").first.click()
    page.wait_for_url("**/login?reason=SignedOut")
    keep("signed-out")


def shoot_unchecked(page: Page, site: ServedSite, folder: Path, suffix: str) -> None:
    """Take pictures of pages whose session cannot be renewed, because the backend is down."""
    sign_in(page, site, "/")
    page.wait_for_timeout(3000)
    for name, path in {"kept-home": "/", "kept-account": "/account"}.items():
        page.goto(site.url + path)
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=True)


def shoot_other_ways(
    page: Page, with_provider: ServedSite, with_code: ServedSite, folder: Path, suffix: str
) -> None:
    """Take pictures of the sign-in page with a provider, and of the second step."""
    page.goto(with_provider.url + "/login")
    page.screenshot(path=folder / f"login-provider-{suffix}.png", full_page=True)
    sign_in(page, with_code, "/account", "dave")
    page.screenshot(path=folder / f"challenge-{suffix}.png", full_page=True)
    page.fill("#code", "000000")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    page.screenshot(path=folder / f"challenge-refused-{suffix}.png", full_page=True)


def main(folder: Path) -> None:
    """Start the sites, and write the pictures to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        sync_playwright() as playwright,
        serve("allauth_app.py", Path(temporary)) as django,
    ):
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        site = ServedSite(Path(temporary), SETTINGS)
        with_provider = ServedSite(Path(temporary), WITH_PROVIDER, name="provider")
        codes = {
            "authapp.backend.url": django.url,
            "authapp.backend.preset": "allauth",
            "authapp.backend.verify": "",
        }
        with_code = ServedSite(Path(temporary), codes, name="codes")
        away = {"issuer.access_lifetime": "2", "authapp.backend.refresh": "POST /nowhere"}
        without = ServedSite(Path(temporary), away, name="away")
        sign_in_elsewhere(browser, site)
        for width, (across, down) in WIDTHS.items():
            for scheme in ("light", "dark"):
                window = browser.new_context(
                    viewport={"width": across, "height": down}, color_scheme=scheme, locale="en"
                )
                shoot(window.new_page(), site, folder, f"{width}-{scheme}")
                window.clear_cookies()
                shoot_unchecked(window.new_page(), without, folder, f"{width}-{scheme}")
                window.clear_cookies()
                shoot_other_ways(
                    window.new_page(), with_provider, with_code, folder, f"{width}-{scheme}"
                )
                window.close()
        narrow = {"width": 320, "height": 700}
        for suffix, options in {
            "zh": {"viewport": {"width": 390, "height": 844}, "locale": "zh-CN"},
            "narrow": {"viewport": narrow, "locale": "en"},
        }.items():
            window = browser.new_context(**options)
            shoot(window.new_page(), site, folder, suffix)
            window.clear_cookies()
            shoot_other_ways(window.new_page(), with_provider, with_code, folder, suffix)
            window.close()
        window = browser.new_context(viewport={"width": 390, "height": 844}, locale="en")
        page = window.new_page()
        page.goto(site.url + "/login")
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        page.screenshot(path=folder / "login-large-text.png", full_page=True)
        browser.close()
        for each in (site, without, with_provider, with_code):
            each.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
