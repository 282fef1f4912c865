"""Threat D2: long headers are removed before any code parses them."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.web.header_limits import MAX_HEADER
from site_under_test import Site, add_view, application

PARSED = [
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Forwarded",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Origin",
    "Range",
    "Sec-Fetch-Mode",
    "X-CSRF-Token",
    "X-Forwarded-Host",
    "X-Request-ID",
    "X-Requested-With",
]


def received_headers(request: Request) -> dict[str, str]:
    """Return the headers that a view sees."""
    return dict(request.headers)


@pytest.fixture(scope="module")
def site() -> Site:
    def more(config: Configurator) -> None:
        add_view(config, received_headers)

    return application("http://127.0.0.1:9", more)


@pytest.mark.parametrize("name", PARSED)
def test_too_long_header_is_removed(site: Site, name: str) -> None:
    longest, too_long = "a" * MAX_HEADER, "a" * (MAX_HEADER + 1)
    seen = {key.lower() for key in site.get("/view", headers={name: longest}).json}
    assert name.lower() in seen
    seen = {key.lower() for key in site.get("/view", headers={name: too_long}).json}
    assert name.lower() not in seen


def test_too_long_accept_language_gives_the_default_language(site: Site) -> None:
    """Without the limit, the parser took 24 seconds of processor time for this header."""
    tags = "zh-" + "-".join(["a"] * 125_000)
    assert '<html lang="en">' in site.get("/login", headers={"Accept-Language": tags})


def test_long_authorization_header_is_not_removed(site: Site) -> None:
    token = "Bearer " + "a" * 8000
    assert site.get("/view", headers={"Authorization": token}).json["Authorization"] == token


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(cookie=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=200))
def test_arbitrary_cookie_header_does_not_break_a_view(site: Site, cookie: str) -> None:
    site.cookiejar.clear()
    site.get("/view", headers={"Cookie": f"a=b; {cookie}"}, status=200)


@pytest.mark.parametrize("path", ["/login", "/logout", "/session", "/account"])
def test_a_multipart_form_is_refused_by_our_own_pages(site: Site, path: str) -> None:
    """Parsing the parameters of its parts takes quadratic time."""
    site.post(path, b"x", content_type='multipart/form-data; boundary="x"', status=400)
    long = 'multipart/form-data; boundary=x; a="' + ";" * 60_000
    assert site.post(path, b"x", content_type=long, status="*").status_int in (400, 403, 303)
