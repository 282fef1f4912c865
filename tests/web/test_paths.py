"""Threat D1. Some checks run before Pyramid's router. They match the same paths as the router."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyramid.interfaces import IRoutesMapper
from pyramid.request import Request

from authapp.settings.route_settings import PATHS
from authapp.web.routes import is_at, is_own
from servers import Served
from site_under_test import Site, application

PIECES = st.sampled_from([*PATHS.values(), "/", "\n", "\r", "\0", "%0a", ";x", "//", ".", "é", "?"])


@pytest.fixture(scope="module")
def idle_site() -> Site:
    """Return a site whose backend is never called."""
    return application("http://127.0.0.1:9")


@example(pieces=["/login", "\n", "\n"])  # Pyramid ignores one line feed at the end
@given(pieces=st.lists(PIECES | st.text(max_size=3), max_size=4))
def test_is_at_agrees_with_pyramids_route_matching(idle_site: Site, pieces: list[str]) -> None:
    path = "".join(pieces).encode(errors="replace").decode("latin-1")
    request = Request.blank("/", {"PATH_INFO": path})
    request.registry = idle_site.app.registry
    matched = request.registry.getUtility(IRoutesMapper)(request)["route"]
    assert is_at(request) is is_own(matched)


@pytest.mark.parametrize("path", ["/login", "/logout", "/session", "/account"])
@pytest.mark.parametrize("more", ["", "\n"])
def test_form_limit_applies_to_every_spelling_of_a_path(
    backend: Served, path: str, more: str
) -> None:
    site = application(backend.url, refresh__exclude="/login")
    site.post(quote(path + more), b"username=" + b"x" * 100_000, status=413)


def test_api_prefix_matches_a_path_with_a_line_feed() -> None:
    site = application("http://127.0.0.1:9", api_prefixes="/account")
    for path in ("/account", "/account%0a"):
        site.get(path, headers={"Accept": "text/html"}, status=401)


def test_next_does_not_lead_back_to_sign_in(backend: Served) -> None:
    site = Site(backend.url)
    for target in ("/login", "/login%0a", "/%6cogin", "/logout%0A", "/login/"):
        form = site.get("/login", {"next": target}).form
        assert form["next"].value == "/"
