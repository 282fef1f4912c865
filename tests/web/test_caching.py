"""No shared cache stores a response with a cookie or a CSRF token (threat C15), and ``Vary`` names
what a response depends on."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from pyramid.csrf import get_csrf_token, new_csrf_token
from pyramid.request import Request
from pyramid.response import Response

from servers import Served
from site_under_test import COOKIE, Site, application_with_view

PRIVATE = "private, no-store"
OBEYED_FIRST = {
    "CDN-Cache-Control": "public, max-age=60",
    "cloudflare-cdn-cache-control": "max-age=60",
    "Akamai-Cache-Control": "max-age=60",
    "Edge-Control": "cache-maxage=60",
    "Netlify-CDN-Cache-Control": "max-age=60",
    "Surrogate-Control": "max-age=60",
    "Vercel-CDN-Cache-Control": "max-age=60",
    "X-Accel-Expires": "60",
    "X-LiteSpeed-Cache-Control": "public, max-age=60",
    "Expires": "Wed, 21 Oct 2037 07:28:00 GMT",
}
"""Headers that some caches obey instead of ``Cache-Control``."""


def view_that_says(
    caching: list[str], token: Callable[[Request], str] | None = None
) -> Callable[[Request], Response]:
    """Return a view that allows caches to store its response.

    :param caching: the values of ``Cache-Control``, one for each header.
    :param token: a function that returns a CSRF token for the body of the response.
    """

    def view(request: Request) -> Response:
        response = Response(token(request) if token else "a page")
        response.headers.extend([("Cache-Control", each) for each in caching])
        response.headers.extend(OBEYED_FIRST)
        response.headers.extend({"cdn-cache-control": "max-age=61"})  # twice
        return response

    return view


def caching_of(headers: Any) -> tuple[list[str], set[str]]:
    """Return the values of ``Cache-Control``, and the other caching headers of a response."""
    others = {name.lower() for name in OBEYED_FIRST} & {name.lower() for name in headers}
    return headers.getall("Cache-Control"), others


def test_c15_response_with_a_session_cookie_is_not_cacheable(backend: Served) -> None:
    site = application_with_view(backend.url, view_that_says(["public, max-age=60"]))
    site.sign_in()
    fresh = caching_of(site.get("/view").headers)
    assert fresh == (["public, max-age=60"], {name.lower() for name in OBEYED_FIRST})
    with time_machine.travel(time.time() + 901):
        renewed = site.get("/view").headers
    assert COOKIE in renewed["Set-Cookie"]
    assert caching_of(renewed) == ([PRIVATE], set())


@pytest.mark.parametrize("token", [get_csrf_token, new_csrf_token])
def test_c15_response_with_a_csrf_token_is_not_cacheable(
    backend: Served, token: Callable[[Request], str]
) -> None:
    site = application_with_view(backend.url, view_that_says(["public, max-age=60"], token))
    assert caching_of(site.get("/view").headers) == ([PRIVATE], set())
    site.sign_in()
    assert caching_of(site.get("/view").headers) == ([PRIVATE], set())


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (["private"], ["private"]),
        (["Private, max-age=600"], ["Private, max-age=600"]),
        (["max-age=0,NO-STORE"], ["max-age=0,NO-STORE"]),
        (["max-age=600", "private"], ["max-age=600", "private"]),
        (["private", 'x="public, a"'], ["private", 'x="public, a"']),
        ([], [PRIVATE]),
        ([""], [PRIVATE]),
        (["no-cache"], [PRIVATE]),
        (["public"], [PRIVATE]),
        (["s-maxage=600"], [PRIVATE]),
        (["private, s-maxage=600"], [PRIVATE]),
        (["private", "Public, max-age=600"], [PRIVATE]),
        (['max-age=600, private="X-Name"'], [PRIVATE]),
        (['max-age=600, private = "X-Name"'], [PRIVATE]),
        (["max-age=600, private=X-Name"], [PRIVATE]),
        (["max-age=600, no-store=0"], [PRIVATE]),
        (["max-age=600, x-private-hint=1"], [PRIVATE]),
        (["max-age=600, x-private"], [PRIVATE]),
        (["max-age=600, no-store-hint"], [PRIVATE]),
        (["max-age=600 private"], [PRIVATE]),
        (['max-age=600, x="a, private, b"'], [PRIVATE]),
        (['max-age=600, x="a\\", private, b"'], [PRIVATE]),
        (['max-age=600, x="a, private'], [PRIVATE]),
        (['max-age=600, x="a, no-store\\'], [PRIVATE]),
        (['max-age=600, pri"x"vate'], [PRIVATE]),
    ],
)
def test_c15_a_view_with_a_csrf_token_may_only_keep_out_shared_caches(
    backend: Served, said: list[str], sent: list[str]
) -> None:
    site = application_with_view(backend.url, view_that_says(said, get_csrf_token))
    anonymous = site.get("/view").headers
    assert "csrf" in anonymous["Set-Cookie"]
    assert caching_of(anonymous) == (sent, set())
    site.sign_in()
    assert caching_of(site.get("/view").headers) == (sent, set())


def test_vary_header_of_a_view_is_kept_without_duplicates(backend: Served) -> None:
    def view(request: Request) -> Response:
        request.response.vary = ("Accept-Language", "Cookie")
        return Response(request.locale_name, vary=("Accept-Language", "Cookie"))

    site = application_with_view(backend.url, view)
    assert site.get("/view").headers["Vary"] == "Accept-Language, Cookie"


@pytest.mark.parametrize("path", ["/", "/account", "/session", "/login?next=/account"])
def test_responses_to_signed_in_users_are_private(site: Site, path: str) -> None:
    assert "Cookie" in site.get("/").headers["Vary"]
    site.sign_in()
    answer = site.get(path)
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]
