"""The browser of these tests: Debian's Chromium, without a screen."""

from collections.abc import Iterator
from typing import Any

import pytest

from browser.chromium import FLAGS, PROGRAM


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Yield Chromium, which all tests share. Each test opens its own windows."""
    if PROGRAM is None:
        pytest.skip("chromium is not installed; see .ci/packages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        yield browser
        browser.close()
