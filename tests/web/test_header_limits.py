"""Threat D2: a header is bounded before anything parses it."""

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


def came(request: Request) -> dict[str, str]:
    """The headers that a view sees."""
    return dict(request.headers)


@pytest.fixture(scope="module")
def site() -> Site:
    def more(config: Configurator) -> None:
        add_view(config, came)

    return application("http://127.0.0.1:9", more)


@pytest.mark.parametrize("name", PARSED)
def test_a_header_that_is_too_long_counts_as_absent(site: Site, name: str) -> None:
    longest, too_long = "a" * MAX_HEADER, "a" * (MAX_HEADER + 1)
    seen = {key.lower() for key in site.get("/view", headers={name: longest}).json}
    assert name.lower() in seen
    seen = {key.lower() for key in site.get("/view", headers={name: too_long}).json}
    assert name.lower() not in seen


def test_the_language_is_the_default_for_a_quarter_of_a_megabyte_of_tags(site: Site) -> None:
    """This header took 24 seconds of processor time to parse."""
    tags = "zh-" + "-".join(["a"] * 125_000)
    assert '<html lang="en">' in site.get("/login", headers={"Accept-Language": tags})


def test_what_an_application_parses_itself_is_left_alone(site: Site) -> None:
    token = "Bearer " + "a" * 8000
    assert site.get("/view", headers={"Authorization": token}).json["Authorization"] == token


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(cookie=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=200))
def test_an_application_can_read_its_cookies_whatever_comes(site: Site, cookie: str) -> None:
    site.cookiejar.clear()
    site.get("/view", headers={"Cookie": f"a=b; {cookie}"}, status=200)
