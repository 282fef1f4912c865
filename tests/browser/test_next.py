"""Threat S9. Chromium never leaves the site when it follows ``next``.

For each hostile value of ``next``, the test requests the redirect, and resolves its target with
Chromium's URL parser. For every twentieth value, Chromium also opens the target.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from served_site import ServedSite
from web.test_redirects import PAYLOADS

RESOLVE = "(locations) => locations.map((each) => new URL(each, location.href).href)"


def test_s9_the_address_bar_stays_on_the_site(chromium: Any, tmp_path: Path) -> None:
    site = ServedSite(tmp_path)
    window = chromium.new_context(locale="en")
    page = window.new_page()
    page.goto(site.url + "/login?next=%2Faccount")
    page.fill("#username", "alice")
    page.fill("#password", "alice-password")
    page.keyboard.press("Enter")
    page.wait_for_url(site.url + "/account")
    elsewhere: list[str] = []
    ours = site.url + "/"
    page.on("request", lambda each: elsewhere.append(each.url) if ours not in each.url else None)
    targets = [quote(payload.encode(errors="surrogatepass"), safe="") for _, payload in PAYLOADS]
    with requests.Session() as asking:
        asking.cookies.update({each["name"]: each["value"] for each in window.cookies()})
        locations = [
            asking.get(f"{ours}login?next={each}", allow_redirects=False).headers["Location"]
            for each in targets
        ]
    followed = page.evaluate(RESOLVE, locations)
    for (verdict, payload), url in zip(PAYLOADS, followed, strict=True):
        assert url.startswith(ours), json.dumps(payload)
        if verdict == "off-site":
            assert url == ours, json.dumps(payload)
    for target, url in list(zip(targets, followed, strict=True))[::20]:
        page.goto(f"{ours}login?next={target}", wait_until="commit")
        assert page.url.partition("#")[0] == url.partition("#")[0]
    assert elsewhere == []
    window.close()
    site.stop()
