"""Which responses set the cookie of a renewed session, and which caches may keep them."""

from collections.abc import Callable
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPServiceUnavailable
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import forget

from renewal.phases import EXPIRED, later, page, twins_at
from servers import REFRESH, Served
from site_under_test import COOKIE, Site, add_view, application

RESPONSES: dict[str, tuple[Callable[..., Any], int]] = {
    "page": (lambda request: Response("page"), 200),
    "redirect": (lambda request: HTTPFound("/elsewhere"), 302),
    "error": (lambda request: HTTPServiceUnavailable(headers={"Retry-After": "soon"}), 503),
    "not modified": (lambda request: Response(status=304), 304),
    "streamed": (lambda request: Response(app_iter=iter([b"a", b"b"])), 200),
    "empty Vary": (lambda request: Response(headers={"Vary": ""}), 200),
    "public": (lambda request: Response("x", cache_control="public, max-age=60"), 200),
    "conditional": (
        lambda request: Response("x", etag="x", conditional_response=True),
        304,
    ),
    "own cookie": (lambda request: Response(headers={"Set-Cookie": "own=1"}), 200),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_cookie_is_set_on_every_kind_of_response(
    backend: Served, kind: str, method: str
) -> None:
    view, status = RESPONSES[kind]
    site, _ = twins_at(backend, view)
    before = site.token()
    with later(EXPIRED):
        headers = {"If-None-Match": '"x"'}
        answer = site.request("/view", method=method, headers=headers, status=status)
    assert site.token() != before
    assert answer.headers["Cache-Control"] == "private, no-store"
    ours = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]
    assert len(ours) == 1
    if kind == "own cookie":
        assert "own=1" in answer.headers.getall("Set-Cookie")


def _raises(request: Request) -> Response:
    raise RuntimeError("a bug")


def test_failing_view_still_sets_the_renewed_cookie(backend: Served) -> None:
    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        add_view(config, _raises)

    site = application(backend.url, more)
    site.sign_in()
    before = site.token()
    with later(EXPIRED):
        answer = site.get("/view", status=500)
    assert "InternalError" in answer.text
    assert "a bug" not in answer.text
    assert site.token() != before


@pytest.mark.parametrize("use_tweens", [False, True])
def test_subrequests_set_one_cookie(backend: Served, use_tweens: bool) -> None:
    def outer(request: Request) -> Response:
        inner = Request.blank("/session", cookies=request.cookies)
        return request.invoke_subrequest(inner, use_tweens=use_tweens)

    site, _ = twins_at(backend, outer)
    with later(EXPIRED):
        answer = site.get("/view", status=200)
    assert len([c for c in answer.headers.getall("Set-Cookie") if c.startswith(COOKIE)]) == 1
    assert backend.calls[REFRESH] == 1
    assert (answer.json["user"] is not None) is use_tweens, (
        "without tweens the session is not renewed"
    )


def test_excluded_paths_neither_renew_nor_set_a_cookie(backend: Served) -> None:
    site, _ = twins_at(backend, lambda request: Response("x"), refresh__exclude="/view")
    with later(EXPIRED):
        for path in ("/view", "/health", "/authapp-static/authapp.css"):
            assert "Set-Cookie" not in site.get(path).headers
    assert backend.calls[REFRESH] == 0


def test_excluded_path_is_private_when_the_view_reads_the_identity(backend: Served) -> None:
    site, _ = twins_at(
        backend, lambda request: Response(str(request.identity)), refresh__exclude="/view"
    )
    answer = site.get("/view")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Vary"] == "Cookie"


def test_signed_in_response_keeps_the_cache_control_of_its_view(backend: Served) -> None:
    site, _ = twins_at(backend, lambda request: Response("x", cache_control="private, max-age=9"))
    assert site.get("/view").headers["Cache-Control"] == "private, max-age=9"


def test_response_to_an_empty_path_is_private(site: Site) -> None:
    site.sign_in()
    environ = Request.blank("/", environ={"HTTP_COOKIE": site.cookie_header()["Cookie"]}).environ
    environ["PATH_INFO"] = ""
    answer = Request(environ).get_response(site.app)
    assert "You are signed in as alice" in answer.text
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_sign_out_in_a_view_overrides_the_renewal(backend: Served) -> None:

    def view(request: Request) -> Response:
        forget(request)
        return Response("bye")

    site, copy = twins_at(backend, view)
    with later(EXPIRED):
        site.get("/view")
        assert COOKIE not in site.cookies
        assert copy.get("/session").json["error"] == "SessionRevoked"


def test_sign_out_page_renews_but_sign_out_does_not(site: Site, backend: Served) -> None:
    site.sign_in()
    csrf = site.csrf()
    with later(EXPIRED):
        page(site, "/logout")
        assert backend.calls[REFRESH] == 1
        assert site.opened()
    with later(2 * EXPIRED + 900):
        site.post("/logout", {"csrf_token": csrf}, status=303)
    assert backend.calls[REFRESH] == 1
