"""If an application returns or raises one response object in several requests, no visitor gets the
cookies of another visitor (threat R6)."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from pyramid.response import Response

from servers import Served
from site_under_test import COOKIE, Site, application_with_view


def view_of(shared: Response, raised: bool) -> Callable[[Any], Any]:
    def view(request: Any) -> Any:
        if "csrf" in request.GET:
            get_csrf_token(request)
        if raised:
            raise shared
        return shared

    return view


@pytest.mark.parametrize(
    ("make", "raised"),
    [(lambda: Response("shared"), False), (HTTPBadRequest, False), (HTTPBadRequest, True)],
    ids=["returned", "an error that is returned", "raised"],
)
def test_r6_no_user_gets_the_cookie_of_an_earlier_request(
    backend: Served, make: Callable[[], Response], raised: bool
) -> None:
    shared = make()
    shared.set_cookie("own", "kept")
    wsgi = application_with_view(backend.url, view_of(shared, raised)).app
    alice, bob, visitor = (Site(wsgi=wsgi) for _ in range(3))
    alice.sign_in("alice")
    bob.sign_in("bob")
    with time_machine.travel(time.time() + 901):
        for site in (alice, bob):
            cookies = site.get("/view", expect_errors=True).headers.getall("Set-Cookie")
            assert [each.partition("=")[0] for each in cookies] == ["own", COOKIE]
        cookies = visitor.get("/view", expect_errors=True).headers.getall("Set-Cookie")
        assert [each.partition("=")[0] for each in cookies] == ["own"]
        assert visitor.get("/session").json["user"] is None
        assert [site.get("/session").json["user"]["id"] for site in (alice, bob)] == [1, 2]


def test_r6_no_visitor_gets_the_csrf_token_of_another(backend: Served) -> None:
    wsgi = application_with_view(backend.url, view_of(Response("shared"), False)).app
    first, second = (
        Site(wsgi=wsgi).get("/view?csrf").headers.getall("Set-Cookie") for _ in range(2)
    )
    assert len(first) == len(second) == 1
    assert first != second
    assert not Site(wsgi=wsgi).get("/view").headers.getall("Set-Cookie")


@pytest.mark.parametrize("tweens", [False, True])
def test_r6_the_cookie_of_a_subrequest_stays(backend: Served, tweens: bool) -> None:
    def view(request: Any) -> Any:
        if "inner" in request.GET:
            assert request.authapp.names
            return Response("inner")
        inner = Request.blank("/view?inner", headers={"Cookie": request.headers["X-Cookie"]})
        return request.invoke_subrequest(inner, use_tweens=tweens)

    site = application_with_view(backend.url, view)
    site.sign_in("alice")
    old, stranger = site.token(), Site(wsgi=site.app)
    with time_machine.travel(time.time() + 901):
        answer = stranger.get("/view", headers={"X-Cookie": f"{COOKIE}={old}"})
        assert (COOKIE in stranger.cookies) is tweens, answer
