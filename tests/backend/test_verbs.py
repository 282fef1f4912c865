"""What one verb meets says nothing of another: contract section 3, threats D3 and D4."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request
from webob import Response

from eventually import eventually
from servers import BLACKLIST, LOGIN, REFRESH, Served
from site_under_test import Site, add_view, application, description

EXPIRED = 901


def call(request: Request) -> int:
    """A view that calls a slow endpoint of the backend."""
    return int(request.backend.get("/slow").status_code)


def me(config: Configurator) -> None:
    add_view(config, call)


@pytest.fixture
def people(backend: Served) -> list[Site]:
    """Six browsers, signed in at one site."""
    first = application(backend.url, me, backend__timeout="1", login__rate="1000/minute")
    browsers = [Site(wsgi=first.app) for _ in range(6)]
    for browser in browsers:
        browser.sign_in("alice")
    return browsers


def all_are_served(people: list[Site], rounds: int = 3) -> None:
    """Each request finds an expired access token, and gets the user."""
    now = time.time()
    for number in range(1, rounds + 1):
        with time_machine.travel(now + EXPIRED * number):
            for browser in people:
                assert browser.get("/session").json["user"]["id"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=503),
        Response(status=503, headers={"Retry-After": "60"}),
        Response(status=429, headers={"Retry-After": "60"}),
        Response(status=403, json_body={"message": "Forbidden"}),
    ],
    ids=str,
)
def test_sign_ins_that_the_backend_refuses_to_serve(
    people: list[Site], backend: Served, answer: Response
) -> None:
    backend.instead[LOGIN] = answer
    stranger = Site(wsgi=people[0].app)
    for _ in range(5):
        stranger.sign_in("mallory", "x", status="*")
    all_are_served(people)


@pytest.fixture
def hanging(backend: Served) -> Iterator[threading.Event]:
    """Requests to sign in and to ``/slow`` hang until the end of the test."""
    go = threading.Event()

    def hang(request: Any) -> Response:
        go.wait(30)
        return Response(status=503)

    backend.instead[LOGIN] = backend.instead["/slow"] = hang
    yield go
    go.set()


def test_sign_ins_and_calls_that_hang(
    people: list[Site], backend: Served, hanging: threading.Event
) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            pool.submit(Site(wsgi=people[0].app).sign_in, "mallory", "x", status="*")
        for _ in range(2):
            pool.submit(people[0].twin().get, "/view", status="*")
        eventually(lambda: backend.calls[LOGIN] + backend.calls["/slow"] >= 1)
        all_are_served(people)
        hanging.set()


def test_a_sign_out_that_fails(people: list[Site], backend: Served) -> None:
    backend.instead[BLACKLIST] = Response(status=503, headers={"Retry-After": "60"})
    people.pop().sign_out()
    all_are_served(people)


def test_renewals_that_fail_stop_no_sign_in(people: list[Site], backend: Served) -> None:
    backend.instead[REFRESH] = Response(status=503, headers={"Retry-After": "60"})
    with time_machine.travel(time.time() + EXPIRED):
        assert people[0].get("/session").json["error"] == "BackendUnavailable"
        Site(wsgi=people[0].app).sign_in("bob", status=303)


def test_an_answered_refusal_never_opens_a_breaker(people: list[Site], backend: Served) -> None:
    """A gateway's 403 at renewal: every session is kept, and goes on when the gateway is gone."""
    backend.instead[REFRESH] = Response(status=403, json_body={"message": "Forbidden"})
    now = time.time() + EXPIRED
    with time_machine.travel(now):
        for browser in people:
            assert browser.get("/session").json["error"] == "BackendUnavailable"
        del backend.instead[REFRESH]
        breaker = people[0].services.backend.breaker
        assert breaker.closed
    with time_machine.travel(now + 2):
        for browser in people:
            eventually(lambda browser=browser: browser.get("/session").json["user"] is not None)


def test_a_connection_that_cannot_be_made_is_shared() -> None:
    site = Site("http://127.0.0.1:1")
    site.sign_in("alice", status=503)
    breakers = site.services.backend.breakers
    assert not any(breaker.closed for breaker in breakers.values())


def test_a_client_that_names_itself_in_the_fields() -> None:
    posted = description(backend__preset="oauth2", backend__client_id="web").with_client()
    assert ("client_id",) in {name for name, _ in posted.login.fields}
    assert posted.client_auth == "post"
