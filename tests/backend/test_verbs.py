"""If one verb of the backend fails, the other verbs still work: contract section 3, threats D3 and
D4."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from pyramid.request import Request
from webob import Response

from eventually import eventually
from servers import BLACKLIST, LOGIN, REFRESH, Served
from site_under_test import Site, application_with_view, description

EXPIRED = 901


def call(request: Request) -> int:
    """A view of the application. It calls a slow endpoint of the backend."""
    return int(request.backend.get("/slow").status_code)


@pytest.fixture
def signed_in(backend: Served) -> list[Site]:
    """Return six browsers that are signed in at the same site."""
    keys = {"backend__timeout": "4", "login__rate": "1000/minute"}
    first = application_with_view(backend.url, call, **keys)
    browsers = [Site(wsgi=first.app) for _ in range(6)]
    for browser in browsers:
        browser.sign_in("alice")
    return browsers


def assert_all_are_renewed(signed_in: list[Site], rounds: int = 3) -> None:
    """Assert that each session is renewed after its access token has expired."""
    now = time.time()
    for number in range(1, rounds + 1):
        with time_machine.travel(now + EXPIRED * number):
            for browser in signed_in:
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
def test_failed_sign_ins_do_not_stop_renewals(
    signed_in: list[Site], backend: Served, answer: Response
) -> None:
    backend.instead[LOGIN] = answer
    stranger = Site(wsgi=signed_in[0].app)
    for _ in range(5):
        stranger.sign_in("mallory", "x", status="*")
    assert_all_are_renewed(signed_in)


@pytest.fixture
def hanging(backend: Served) -> Iterator[threading.Event]:
    """Make the backend hang on each sign-in and on requests for ``/slow``, until the test ends."""
    go = threading.Event()

    def hang(request: Any) -> Response:
        go.wait(30)
        return Response(status=503)

    backend.instead[LOGIN] = backend.instead["/slow"] = hang
    yield go
    go.set()


def test_hanging_sign_ins_and_calls_do_not_stop_renewals(
    signed_in: list[Site], backend: Served, hanging: threading.Event
) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            pool.submit(Site(wsgi=signed_in[0].app).sign_in, "mallory", "x", status="*")
        for _ in range(2):
            pool.submit(signed_in[0].twin().get, "/view", status="*")
        eventually(lambda: backend.calls[LOGIN] + backend.calls["/slow"] >= 1)
        assert_all_are_renewed(signed_in)
        hanging.set()


def test_hanging_renewals_of_one_user_do_not_stop_those_of_others(backend: Served) -> None:
    """Threat D4. Alice has three sessions, and the backend does not respond to their renewals.
    Bob's session is still renewed."""
    keys = {"backend__timeout": "20", "login__rate": "1000/minute"}
    sites = [Site(backend.url, **keys)]
    sites += [Site(wsgi=sites[0].app) for _ in range(3)]
    for site, name in zip(sites, ["bob", "alice", "alice", "alice"], strict=True):
        site.sign_in(name, status=303)
    bob, *alices = sites
    hers, go = {site.opened().tokens.refresh for site in alices}, threading.Event()

    def refresh(request: Any) -> None:
        if request.json["refresh"] in hers:
            go.wait(60)

    backend.instead[REFRESH] = refresh
    now = time.time()
    with time_machine.travel(now + EXPIRED), ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(site.get, "/session", status="*") for site in alices]
        eventually(lambda: sum(each.done() for each in waiting) == 2, 20)
        for number in range(1, 4):
            with time_machine.travel(now + EXPIRED * number):
                assert bob.get("/session").json["user"]["id"] == 2
        assert not all(each.done() for each in waiting)
        go.set()


def test_a_failed_sign_out_does_not_stop_renewals(signed_in: list[Site], backend: Served) -> None:
    backend.instead[BLACKLIST] = Response(status=503, headers={"Retry-After": "60"})
    signed_in.pop().sign_out()
    assert_all_are_renewed(signed_in)


def test_failed_renewals_do_not_stop_sign_ins(signed_in: list[Site], backend: Served) -> None:
    backend.instead[REFRESH] = Response(status=503, headers={"Retry-After": "60"})
    with time_machine.travel(time.time() + EXPIRED):
        assert signed_in[0].get("/session").json["error"] == "BackendUnavailable"
        Site(wsgi=signed_in[0].app).sign_in("bob", status=303)


def test_a_403_response_never_opens_the_breaker(signed_in: list[Site], backend: Served) -> None:
    """If a gateway in front of the backend returns 403 to renewals, all sessions are kept. They are
    renewed when the gateway is gone."""
    backend.instead[REFRESH] = Response(status=403, json_body={"message": "Forbidden"})
    now = time.time() + EXPIRED
    with time_machine.travel(now):
        for browser in signed_in:
            assert browser.get("/session").json["error"] == "BackendUnavailable"
        del backend.instead[REFRESH]
        breaker = signed_in[0].services.backend.breaker
        assert breaker.closed
    with time_machine.travel(now + 2):
        for browser in signed_in:
            eventually(lambda browser=browser: browser.get("/session").json["user"] is not None)


def test_a_failed_connection_opens_the_breakers_of_all_verbs() -> None:
    site = Site("http://127.0.0.1:1")
    site.sign_in("alice", status=503)
    breakers = site.services.backend.breakers
    assert not any(breaker.closed for breaker in breakers.values())


def test_a_public_client_sends_its_client_id_in_the_form() -> None:
    posted = description(backend__preset="oauth2", backend__client_id="web").with_client()
    assert ("client_id",) in {name for name, _ in posted.login.fields}
    assert posted.client_auth == "post"


def test_a_connection_that_is_closed_concerns_its_verb_only() -> None:
    """A firewall that closes the connection of a sign-in must not stop renewals."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drop() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=drop)
        thread.start()
        site = Site(f"http://127.0.0.1:{listening.getsockname()[1]}")
        site.sign_in("alice", status=503)
        thread.join()
    breakers = site.services.backend.breakers
    assert not breakers["login"].closed
    assert breakers["refresh"].closed
