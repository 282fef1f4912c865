"""The pages in Firefox: sign-in, renewal, tabs, the end of a session, and sign-in with a provider.

The steps of each test are in ``node/firefox.mjs``. A test also fails if a page writes an error or a
warning to the console, or violates its Content-Security-Policy.
"""

from collections.abc import Iterator

import pytest

from browser.node_side import Firefox
from oidc.certified import Certified
from served_site import ServedSite


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    firefox = Firefox()
    yield firefox
    firefox.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    changes = {"pyramid.includes": "letter_pages", "issuer.access_lifetime": "8"}
    site = ServedSite(tmp_path_factory.mktemp("site"), changes)
    yield site
    site.stop()


@pytest.fixture
def site_of_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    provider = Certified()
    site = ServedSite(tmp_path_factory.mktemp("site"), provider.settings())
    provider.start(site.url)
    yield site
    site.stop()
    provider.stop()


@pytest.mark.parametrize("walk", ["signIn", "renewal", "twoTabs", "ended"])
def test_firefox_walks(firefox: Firefox, site: ServedSite, walk: str) -> None:
    firefox.walk(walk, site.url)


def test_firefox_signs_out_at_the_provider(firefox: Firefox, site_of_provider: ServedSite) -> None:
    """The sign-out form redirects to the provider. The policy of the page, ``form-action 'self'``,
    must not stop this redirect."""
    firefox.walk("provider", site_of_provider.url)
