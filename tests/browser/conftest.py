"""Fixtures: sites with the pages of ``letter_pages``, and a window of Chromium that visits them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.tabs import enter, record_faults
from served_site import ServedSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    site = ServedSite(tmp_path_factory.mktemp("site"), {"pyramid.includes": "letter_pages"})
    yield site
    site.stop()


def start_site(folder: Path, access: int, **more: str) -> ServedSite:
    lives = {"issuer.access_lifetime": str(access)}
    settings = {f"issuer.{key}": value for key, value in more.items()}
    settings["pyramid.includes"] = "letter_pages moved_clock"
    return ServedSite(folder, lives | settings)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """Yield a site for all tests that do not stop it. Its access tokens last five minutes."""
    site = start_site(tmp_path_factory.mktemp("usual"), 300)
    yield site
    site.stop()


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., ServedSite]]:
    """Yield a function that returns a site.

    The function starts a new site, unless the fixture ``usual`` has the settings that the test
    needs.
    """
    sites = []

    def start(access: int, **more: str) -> ServedSite:
        if access == 300 and not more:
            usual: ServedSite = request.getfixturevalue("usual")
            return usual
        sites.append(start_site(tmp_path, access, **more))
        return sites[-1]

    yield start
    for site in sites:
        site.stop()


@pytest.fixture
def window(chromium: Any) -> Iterator[Any]:
    """Yield a browser window. At the end, check that its tabs had no errors or warnings."""
    window = chromium.new_context(locale="en", viewport={"width": 1000, "height": 700})
    faults: list[str] = []
    window.on("page", lambda page: record_faults(page, faults))
    yield window
    window.close()
    assert faults == []


@pytest.fixture
def page(window: Any, site: ServedSite) -> Any:
    """Return an empty page of a signed-in user. Each test opens the page that it needs."""
    enter(window, site)
    return window.new_page()
