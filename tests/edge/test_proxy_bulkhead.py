"""A limited number of requests waits for the API (``proxy.bulkhead``), and each frees its slot."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.events import NewResponse
from pyramid.response import Response as PyramidResponse
from webob import Request, Response

from authapp.edge.bulkhead import ProxyBulkhead, ProxyBulkheadFull
from edge import proxied_api
from edge.proxied_api import Raw, Signed
from eventually import eventually
from servers import Served
from site_under_test import application

# A fixture of these tests.
api = proxied_api.api


def test_a_slow_api_takes_no_thread_from_the_rest(backend: Served) -> None:
    done = threading.Event()

    def slow(connection: socket.socket) -> None:
        done.wait(20)
        connection.sendall(b"HTTP/1.1 204 Done\r\n\r\n")

    with Raw(slow, slow) as api:
        site = Signed(backend, api.url, proxy__bulkhead="2", proxy__timeout="10")
        twins = [site.twin() for _ in range(2)]
        waiting = [
            threading.Thread(target=each.get, args=("/api/x",), kwargs={"status": 204})
            for each in twins
        ]
        for each in waiting:
            each.start()
        eventually(lambda: len(api.got) == 2)
        began = time.monotonic()
        for _ in range(5):
            site.get("/api/x", status=503)
        assert time.monotonic() - began < 5  # the first waits for a second, the others do not
        assert site.get("/session").json["user"]["id"] == 1
        site.get("/login", status=303)
        done.set()
        for each in waiting:
            each.join()


def replacing_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """A tween of the application. It replaces a response that has the header ``X-Replaced``."""

    def tween(request: Any) -> Any:
        response = handler(request)
        return PyramidResponse("mine") if "X-Replaced" in response.headers else response

    return tween


def test_an_answer_that_the_server_does_not_get_keeps_no_slot(backend: Served, api: Served) -> None:
    def fail(event: NewResponse) -> None:
        if "X-Bad" in event.response.headers:
            raise RuntimeError("the application's own subscriber")

    def more(config: Configurator) -> None:
        config.add_subscriber(fail, NewResponse)
        config.add_tween("edge.test_proxy_bulkhead.replacing_tween_factory")

    site = application(backend.url, more, proxy=f"/api = {api.url}", proxy__bulkhead="1")
    site.sign_in()
    api.instead["/bad"] = Response(b"x", headers={"X-Bad": "1"})
    api.instead["/replaced"] = Response(b"x", headers={"X-Replaced": "1"})

    def refuse(*given: Any) -> None:
        raise AssertionError("the server refuses a header")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            site.get("/api/bad")
        assert site.get("/api/replaced").text == "mine"
        asked = Request.blank("/api/x", headers=site.cookie_header())
        with pytest.raises(AssertionError):
            site.app(asked.environ, refuse)
    assert site.get("/api/x").json["method"] == "GET"


def test_an_api_that_says_nothing_is_given_up(backend: Served) -> None:
    done = threading.Event()
    with Raw(lambda connection: done.wait(20) and None) as api:
        site = Signed(backend, api.url, proxy__timeout="0.1")
        site.get("/api/x", status=503)
        done.set()


def test_slots_wait_only_for_what_may_end_soon() -> None:
    now = [0.0]
    slots = ProxyBulkhead(1, lambda: now[0])
    release = slots.take(5)
    waiter: list[Any] = []
    thread = threading.Thread(target=lambda: waiter.append(slots.take(5)))
    thread.start()
    release()
    release()
    thread.join(5)
    assert len(waiter) == 1
    now[0] = 1.0
    with pytest.raises(ProxyBulkheadFull):
        slots.take(5)
    waiter[0]()
    slots.take(0)()
