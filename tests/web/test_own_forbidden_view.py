"""Applications with a forbidden view of their own: the examples of docs/pyramid.md."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pyramid.authorization import Allow
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response

from eventually import eventually
from servers import REFRESH, Served
from site_under_test import COOKIE, Site, add_view, application

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"Accept": "application/json"}

DOCS = (Path(__file__).parents[2] / "docs/pyramid.md").read_text()
SECTION = DOCS.partition("## Your own forbidden view")[2].partition("\n## ")[0]
NO_PERMISSION, ALL = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(params=[NO_PERMISSION, ALL], ids=["no permission", "all"])
def example(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture
def serve(backend: Served, tmp_path: Path) -> Callable[..., Site]:
    """Return a function that makes an application with an example of the documentation."""
    (tmp_path / "error.jinja2").write_text("OWN: {{ heading }}")

    def raise_own_body(request: Request) -> Response:
        raise HTTPForbidden(json_body={"detail": "ask Bob"})

    def serve(example: str) -> Site:
        def more(config: Configurator) -> None:
            config.add_jinja2_search_path(str(tmp_path))
            config.set_root_factory(Root)
            config.set_default_permission("see")
            add_view(config, lambda request: "seen")
            for name, view, options in (
                ("payout", lambda request: Response("paid"), {"recent_auth": 300}),
                ("own", raise_own_body, {}),
            ):
                config.add_route(name, f"/{name}")
                config.add_view(view, route_name=name, **options)
            exec(example, {"config": config, "Response": Response})

        return application(backend.url, more)

    return serve


class Root:
    """A root factory that refuses visitors, even at the sign-in page, if the query says so."""

    __acl__ = ((Allow, "role:admin", "see"),)

    def __init__(self, request: Request) -> None:
        if "refuse" in request.GET and request.identity is None:
            raise HTTPForbidden()


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(time.time()) as clock:
        yield clock


def test_while_the_backend_is_down_nobody_is_sent_to_the_sign_in_page(
    serve: Callable[..., Site], example: str, backend: Served, clock: Any
) -> None:
    site = serve(example)
    site.sign_in()
    csrf = site.csrf()
    clock.shift(1000)  # the access token has expired
    backend.instead[REFRESH] = Response(status=503)
    for path in ("/view", "/payout", "/account", "/account/sessions", "/login?refuse"):
        page = site.get(path, headers=PAGE, status="*")
        assert (path, page.status_int) == (path, 503)
        assert page.headers["Retry-After"]
        assert "You are still signed in" in page
        problem = site.get(path, headers=JSON, status=503)
        assert problem.json["code"] == "BackendUnavailable"
        assert problem.headers["Retry-After"]
    assert site.post("/account", {"csrf_token": csrf}, headers=PAGE, status=503)
    assert COOKIE in site.cookies
    del backend.instead[REFRESH]
    clock.shift(10)  # the session may be renewed again
    eventually(lambda: site.get("/view", headers=PAGE, status="*").status_int == 200)


def test_a_signed_in_user_without_the_permission_gets_the_own_page(
    serve: Callable[..., Site], example: str
) -> None:
    site = serve(example)
    site.sign_in("bob")
    assert site.get("/view", headers=PAGE, status=403).text == "OWN: You may not see this page."
    if example is NO_PERMISSION:
        assert site.get("/view", headers=JSON, status=403).json["code"] == "Forbidden"


def test_a_body_of_a_view_is_kept(serve: Callable[..., Site]) -> None:
    site = serve(ALL)
    site.sign_in()
    assert site.get("/own", headers=PAGE, status=403).json == {"detail": "ask Bob"}


def test_visitors_are_led_to_the_sign_in_page_without_a_loop(
    serve: Callable[..., Site], example: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = serve(example)
    for path in ("/view", "/payout", "/account"):
        answer = site.get(path, headers=PAGE, status=303)
        assert answer.headers["Location"] == f"/login?next=%2F{path[1:]}"
        assert site.get(path, headers=JSON, status=401).json["code"] == "SignInRequired"
    site.get("/login", headers=PAGE, status=200)
    page = site.get("/login?refuse", headers=PAGE, status=403)
    assert "You do not have access" in page
    assert "Forbidden: GET /login: the application refuses the sign-in" in caplog.text


def test_a_wrong_csrf_token_and_an_old_sign_in_do_not_reach_the_forbidden_view(
    serve: Callable[..., Site], example: str, clock: Any
) -> None:
    site = serve(example)
    site.sign_in()
    for headers in ({}, {"Origin": "https://elsewhere.example"}):
        page = site.post("/view", {"csrf_token": "wrong"}, headers=PAGE | headers, status=403)
        assert "This form is out of date" in page
        assert page.text.startswith("OWN: ") == (example is ALL)
    site.post("/view", {"csrf_token": site.csrf()}, status=200)
    assert site.get("/payout", headers=PAGE).text == "paid"
    clock.shift(301)
    answer = site.get("/payout", headers=PAGE, status=303)
    assert answer.headers["Location"] == "/login?next=%2Fpayout&max_age=300"
    answer = site.get("/payout", headers=JSON, status=401)
    assert answer.json["error"] == "insufficient_user_authentication"


def test_a_forbidden_view_that_never_calls_authapp_breaks_nothing_else(
    serve: Callable[..., Site], clock: Any
) -> None:
    site = serve("config.add_forbidden_view(lambda request: Response('no', 403))")
    for path in ("/view", "/account"):
        assert site.get(path, headers=PAGE, status=403).text == "no"
    site.sign_in("bob", status=303)
    before = site.token()
    clock.shift(1000)  # the 403 still carries the cookie of the renewed session
    answer = site.get("/view", headers=PAGE, status=403)
    assert answer.text == "no"
    assert site.token() != before
    assert answer.headers["X-Request-ID"]
    assert "private" in answer.headers["Cache-Control"]
    assert site.get("/session").json["user"]["id"]
    site.get("/account", headers=PAGE, status=200)
    site.sign_out()
    assert COOKIE not in site.cookies
