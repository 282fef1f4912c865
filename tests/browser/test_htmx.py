"""If htmx (2 or 4) loads a part of a page that needs a session, Chromium shows the sign-in page."""

from pathlib import Path
from typing import Any

import pytest

from served_site import ServedSite

VENDOR = Path(__file__).parent / "vendor"
VERSIONS = sorted(each.name[5:-7] for each in VENDOR.glob("htmx-*.min.js"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_of_a_page_leads_to_sign_in_and_back(
    chromium: Any, tmp_path: Path, version: str
) -> None:
    site = ServedSite(tmp_path, {"pyramid.includes": "htmx_pages"})
    window = chromium.new_context(locale="en")
    page = window.new_page()
    try:
        page.goto(f"{site.url}/orders/{version}?open=1")
        page.click("button")
        page.wait_for_url(f"{site.url}/login?next=%2Forders%2F{version}%3Fopen%3D1")
        page.fill("#username", "alice")
        page.fill("#password", "alice-password")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.url}/orders/{version}?open=1")
        page.click("button")
        page.wait_for_function("document.querySelector('#part').textContent == 'Hello alice'")
    finally:
        window.close()
        site.stop()
