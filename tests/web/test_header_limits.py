"""Threat D2: headers that are too long are removed before any code parses them."""

import time
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.interfaces import ITweens
from pyramid.request import Request

from authapp.web.header_limits import MAX_COOKIES, MAX_HEADER
from servers import Served
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
    """A view that returns the request headers that it sees."""
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
    """authapp ignores a very long ``Accept-Language`` header. Without the limit of headers, parsing
    this header took 24 seconds of processor time."""
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


@pytest.mark.parametrize("ours", [True, False])
def test_the_tween_that_limits_headers_is_outside_all_others(backend: Served, ours: bool) -> None:
    site = Site(backend.url) if ours else application(backend.url)
    (first, _), *others = site.app.registry.getUtility(ITweens).implicit()
    assert first == "authapp.web.header_limits.header_limits_tween_factory"
    assert "authapp.web.request_ids.request_id_tween_factory" in dict(others)


@pytest.mark.parametrize("name", ["authapp.session", "authapp.session.0", "authapp.session.1"])
@pytest.mark.parametrize("before", ["", "a=b; ", "a=b; " * 300])
@pytest.mark.parametrize("value", ['"\\377\\376"', "\xff", "x", '"\\377'])
def test_a_session_cookie_with_any_bytes_at_any_place_is_cleared(
    site: Site, name: str, before: str, value: str
) -> None:
    site.cookiejar.clear()
    answer = site.get("/view", headers={"Cookie": f"{before}{name}={value}"}, status=200)
    (cleared,) = answer.headers.getall("Set-Cookie")
    assert cleared.startswith(f"{name}=; Max-Age=0;")


@pytest.mark.parametrize("path", ["/login", "/logout", "/session", "/account"])
def test_a_multipart_form_is_refused_by_our_own_pages(site: Site, path: str) -> None:
    """authapp's own pages refuse multipart forms, because parsing the parameters of such a form
    takes quadratic time."""
    site.post(path, b"x", content_type='multipart/form-data; boundary="x"', status=400)
    long = 'multipart/form-data; boundary=x; a="' + ";" * 60_000
    assert site.post(path, b"x", content_type=long, status="*").status_int in (400, 403, 303)


COSTLY = 20
"""The longest time that a request with long headers may take, as a multiple of a plain request's
time."""

PIECES = [
    *("a", ";", ",", "; ", "=", "a=b; ", "a=b;", 'a="b"; ', 'a="\\377"; ', "a;q=1,", "*/*;q=0.5,"),
    *("zh-", "bytes=0-1,", "for=a;", "()", "[::1]:", "%41", "/", "../", "@", "http://a/", "\xe9"),
    *("authapp.session=x; ", "authapp.session.0=x; ", "authapp.csrf=x; ", "_LOCALE_=a; ", 'W/"a",'),
]

UNBOUNDED = ["Authorization", "Cookie", "Referer", "User-Agent", "X-HTTP-Method-Override"]


def cost(site: Site, environ: dict[str, Any]) -> float:
    """Send a request three times. Return the shortest time, in seconds of processor time."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        body = site.app(environ | {"wsgi.input": BytesIO()}, lambda status, headers, error=None: 0)
        b"".join(body)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.fixture(scope="module")
def own_site() -> Site:
    """Return the whole site, because it parses more headers than an application with authapp."""
    return Site("http://127.0.0.1:9", cors__origins="https://app.example.com")


@pytest.mark.parametrize("name", [*PARSED, *UNBOUNDED])
def test_d2_no_header_makes_a_request_costly(own_site: Site, name: str) -> None:
    key = f"HTTP_{name.upper().replace('-', '_')}"
    plain = Request.blank("/login", {"HTTP_HOST": "localhost"}).environ
    usual = max(cost(own_site, plain) for _ in range(3))
    for piece in PIECES:
        value = (piece * 60_000)[:60_000]
        assert cost(own_site, plain | {key: value}) < COSTLY * usual, piece


def test_c1_the_session_is_found_among_as_many_cookies_as_browsers_keep(backend: Served) -> None:
    site = Site(backend.url)
    site.sign_in()
    (session,) = site.cookie_header().values()
    others = [f"c{number}=x" for number in range(180)]
    for cookies in ([session, *others], [*others, session]):
        header = {"Cookie": "; ".join(cookies)}
        site.cookiejar.clear()
        assert site.get("/session", headers=header).json["user"]["id"] == 1
    far = [*(f"c{number}=x" for number in range(MAX_COOKIES)), session]
    site.cookiejar.clear()
    assert site.get("/session", headers={"Cookie": "; ".join(far)}).json["user"] is None
