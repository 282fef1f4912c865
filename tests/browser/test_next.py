"""S9. ``next`` as Chromium follows it: the address bar never leaves the site.

All payloads by ``fetch``, which resolves addresses as the address bar does; every twentieth
in the address bar itself.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from served_site import ServedSite
from unit.test_redirects import PAYLOADS

FOLLOW = """(targets) =>
  Promise.all(targets.map(async (target) => (await fetch(`/login?next=${target}`)).url))"""


def test_s9_the_address_bar_stays_on_the_site(chromium: Any, tmp_path: Path) -> None:
    site = ServedSite(tmp_path)
    window = chromium.new_context(java_script_enabled=False, locale="en")
    page, elsewhere = window.new_page(), []
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(site.url + "/") else elsewhere.append(request.url)
        ),
    )
    # Nothing but the addresses matters: what is asked elsewhere is noted, and not looked up.
    window.route(
        "**",
        lambda route: (
            route.continue_() if route.request.url.startswith(site.url + "/") else route.abort()
        ),
    )
    page.goto(site.url + "/login?next=%2Faccount")
    page.fill("#username", "alice")
    page.fill("#password", "alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/account")
    targets = [quote(payload.encode(errors="surrogatepass"), safe="") for _, payload in PAYLOADS]
    followed = page.evaluate(FOLLOW, targets)
    for (verdict, payload), url in zip(PAYLOADS, followed, strict=True):
        assert url.startswith(site.url + "/"), json.dumps(payload)
        if verdict == "off-site":
            assert url == site.url + "/", json.dumps(payload)
    for target, url in list(zip(targets, followed, strict=True))[::20]:
        page.goto(f"{site.url}/login?next={target}", wait_until="commit")
        assert page.url.partition("#")[0] == url.partition("#")[0]
    assert elsewhere == []
    window.close()
    site.stop()
