"""Calls with GET start at once. They are cancelled if too many requests wait for the backend."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pyramid.request import Request
from webob import Response

from authapp.backend import load_shedding
from backend import slow_calls
from backend.slow_calls import AT_ONCE, SLOTS, call, get, hang, ok
from eventually import eventually
from servers import LOGIN, Served
from site_under_test import Site, application_with_view

site, pool, go = slow_calls.site, slow_calls.pool, slow_calls.go  # fixtures


def test_calls_of_different_users_run_at_the_same_time(
    site: Site, backend: Served, pool: ThreadPoolExecutor
) -> None:
    together = threading.Barrier(AT_ONCE)
    backend.instead["/together"] = lambda request: together.wait(30) >= 0 and ok(request)
    assert list(pool.map(get, [site] * AT_ONCE, ["/together"] * AT_ONCE)) == [200] * AT_ONCE


def test_three_slow_calls_continue_and_a_fourth_is_cancelled(
    site: Site,
    backend: Served,
    pool: ThreadPoolExecutor,
    go: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = backend.calls["/slow"]
    slow = [pool.submit(get, site, "/slow") for _ in range(SLOTS + 1)]
    eventually(lambda: any(each.done() for each in slow))
    assert backend.calls["/slow"] == began + SLOTS + 1
    assert [each.result() for each in slow if each.done()] == [503]
    assert "BackendUnreachable: GET 127.0.0.1:" in caplog.text
    assert "/slow: too many requests wait for the backend" in caplog.text
    assert Site(wsgi=site.app).get("/login").status_int == 200
    assert site.services.backend.breakers["call"].closed
    go.set()
    assert sorted(each.result(20) for each in slow) == [200, 200, 200, 503]
    assert get(site, "/slow") == 200


def test_slow_calls_do_not_stop_the_fast_calls_of_others(
    site: Site, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    hanging = hang(site, pool, SLOTS - 1)
    for _ in range(3):
        assert get(site, "/fast") == 200
    go.set()
    assert [each.result(20) for each in hanging] == [200] * (SLOTS - 1)


def test_three_slow_calls_do_not_stop_fast_calls(
    site: Site, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    hang(site, pool, SLOTS)
    assert get(site, "/fast") == 200, "one call may start, as a probe"


def test_calls_are_refused_at_once_while_a_probe_gets_no_response(
    site: Site,
    backend: Served,
    pool: ThreadPoolExecutor,
    go: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang(site, pool, SLOTS)
    before = backend.calls["/slow"]
    with monkeypatch.context() as patch:
        patch.setattr(load_shedding, "LOOK_AGAIN", 60)
        probe = pool.submit(get, site, "/slow")
        eventually(lambda: backend.calls["/slow"] == before + 1)
        assert get(site, "/fast") == 503
        assert backend.calls["/fast"] == 0
    assert get(site, "/fast") == 503
    go.set()
    assert probe.result(20) == 200


def test_a_probe_without_a_response_is_cancelled(
    site: Site, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    hanging = hang(site, pool, SLOTS)
    assert get(site, "/slow") == 503
    assert not any(each.done() for each in hanging)
    assert site.services.backend.breakers["call"].closed


def test_a_call_is_cancelled_if_a_renewal_and_a_sign_in_need_the_slots(
    site: Site, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    """Two calls of ``request.backend`` hang. Two renewals and a sign-in then wait too, and these
    cannot be cancelled. So the calls are cancelled."""
    hanging = hang(site, pool, 2)
    backend = site.services.backend
    with ExitStack() as waiting:
        for _ in range(2):
            waiting.enter_context(backend.breakers["refresh"].bulkhead.call())
        eventually(lambda: any(each.done() for each in hanging))
        assert sum(each.done() for each in hanging) == 1
        waiting.enter_context(backend.breakers["login"].bulkhead.call())
        eventually(lambda: all(each.done() for each in hanging))
        assert [each.result() for each in hanging] == [503, 503]
        assert get(site, "/slow") == 503
        assert get(site, "/fast") == 200


def test_hanging_sign_ins_do_not_stop_calls(
    site: Site, backend: Served, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    before = backend.calls[LOGIN]
    backend.instead[LOGIN] = lambda request: go.wait(60) and ok(request)
    hanging = pool.submit(Site(wsgi=site.app).sign_in, "bob", status="*")
    eventually(lambda: backend.calls[LOGIN] > before)
    Site(wsgi=site.app).sign_in("bob", status=503)
    assert [get(site, "/fast") for _ in range(3)] == [200] * 3
    go.set()
    hanging.result(20)


def test_a_call_with_a_body_is_refused_before_it_is_sent(
    site: Site, backend: Served, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    """The backend may carry out such a call, so it must not be cancelled once it is sent."""
    slow = pool.submit(get, site, "/slow", method="POST")
    eventually(lambda: backend.calls["/slow"] == 1)
    assert get(site, "/fast", method="POST") == 503
    assert backend.calls["/fast"] == 0
    go.set()
    assert slow.result(20) == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_lost_response_does_not_open_the_breaker_for_others(
    backend: Served, go: threading.Event, pool: ThreadPoolExecutor, method: str
) -> None:
    site = application_with_view(backend.url, call, backend__timeout="1.5")
    site.sign_in("alice", status=303)
    lost = pool.submit(get, site, "/slow", method=method)
    while not lost.done():
        assert get(site, "/fast") == 200
    assert lost.result() == 503
    assert site.services.backend.breakers["call"].closed
    assert get(site, "/slow") == 503
    assert not site.services.backend.breakers["call"].closed, "nobody got a response"


def test_a_view_reads_the_body_of_a_streamed_response_as_slowly_as_it_likes(
    site: Site, backend: Served, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    def body(request: Any) -> Response:
        def parts() -> Iterator[bytes]:
            yield b"a" * 10
            go.wait(60)
            yield b"b" * 10

        return Response(app_iter=parts(), content_length=20)

    backend.instead["/streamed"] = body
    streamed = pool.submit(site.twin().get, "/view", {"path": "/streamed", "stream": ""})
    eventually(lambda: backend.calls["/streamed"] == 1)
    hang(site, pool, SLOTS)
    assert not streamed.done()
    go.set()
    assert streamed.result(20).json == [200, 20]


def test_a_call_inside_a_call_has_its_own_limit(
    site: Site, backend: Served, pool: ThreadPoolExecutor, go: threading.Event
) -> None:
    """A view sends a GET, and a hook (of ``requests``) sends a POST when the response arrives. The
    GET may be cancelled, but the POST must not."""

    def nested(request: Request) -> Any:
        def post(response: Any, **options: Any) -> None:
            request.backend.post("/order", data=b"one")

        return request.backend.get("/fast", hooks={"response": post}).status_code

    def order(request: Any) -> Response:
        hang(site, pool, SLOTS)
        return ok(request)

    backend.instead["/order"] = order
    view = site.app.registry["view"]
    site.app.registry["view"] = lambda request: (
        view(request) if "path" in request.params else nested(request)
    )
    assert site.get("/view").json == 200
