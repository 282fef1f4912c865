"""Calls with GET start at once. They are cancelled if too many requests wait for the backend."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from pyramid.request import Request
from webob import Response

from authapp.backend import bulkhead, load_shedding
from authapp.backend.bulkhead import Waits
from authapp.backend.http_client import BoundedSession
from authapp.backend.load_shedding import LoadShedding
from authapp.backend.protocol import CallCancelled, CallNotPermitted
from eventually import eventually
from servers import LOGIN, Served
from servers.tls import HERE, Authority
from site_under_test import Site, application_with_view

AT_ONCE = 4
SLOTS = 3


def call(request: Request) -> Any:
    """A view of the application. It calls the path of the backend that the query names."""
    asked = request.params
    options = {"data": b"body"} if asked.get("method") == "POST" else {}
    response = request.backend.request(
        asked.get("method", "GET"), asked["path"], stream="stream" in asked, **options
    )
    return [response.status_code, len(response.content)]


@pytest.fixture
def site(backend: Served) -> Site:
    site = application_with_view(backend.url, call, backend__timeout="60")
    site.sign_in("alice", status=303)
    return site


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def go(backend: Served) -> Iterator[threading.Event]:
    """``/slow`` hangs until this event is set."""
    go = threading.Event()
    backend.instead["/slow"] = lambda request: go.wait(60) and ok(request)
    backend.instead["/fast"] = ok
    yield go
    go.set()


def ok(request: Any) -> Response:
    return Response(json_body={})


def get(site: Site, path: str, **query: str) -> int:
    return int(site.twin().get("/view", {"path": path, **query}, status="*").status_int)


def all_waits(site: Site) -> Waits:
    found: Waits = site.services.backend._shedding.waits
    return found


def hang(site: Site, pool: ThreadPoolExecutor, count: int) -> "list[Future[int]]":
    """Start calls that hang, until each has waited for the slow-call threshold."""
    hanging = [pool.submit(get, site, "/slow") for _ in range(count)]
    eventually(lambda: len(all_waits(site)._long(bulkhead.SLOW_CALL)) == count)
    return hanging


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


def test_the_page_says_that_a_call_may_have_been_carried_out(backend: Served) -> None:
    def post(request: Request) -> None:
        request.backend.post("/drop", data=b"")

    site = application_with_view(backend.url, post, backend__timeout="0.5")
    site.sign_in("alice", status=303)
    backend.instead["/drop"] = lambda request: time.sleep(2) or ok(request)
    html = {"Accept": "text/html"}
    form = {"csrf_token": site.csrf()}
    posted = site.post("/view", form, headers=html, status=503)
    assert "What you just did may have been carried out." in posted
    assert "<h1>Not available right now</h1>" in posted
    assert posted.headers["Retry-After"]
    again = "A service that this page needs is not responding. Try again in a moment."
    assert again in site.post("/view", form, headers=html, status=503), "it was not sent"
    assert again in site.get("/view", headers=html, status=503)


def test_the_log_line_of_a_failed_call_cannot_be_forged(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/a\u2028\u0085b/" + "eyJhbGciOiJub25lIn0" * 3

    def read(request: Request) -> None:
        request.backend.get(path, timeout=0.3)

    site = application_with_view(backend.url, read)
    site.sign_in("alice", status=303)
    backend.instead[quote(path)] = lambda request: time.sleep(1)
    site.get("/view", status=503)
    (line,) = [each for each in caplog.messages if each.startswith("BackendUnreachable")]
    assert line.isprintable()
    assert "eyJ" not in line


def test_an_error_in_the_application_s_own_code_is_raised_unchanged(backend: Served) -> None:
    def rows() -> Iterator[bytes]:
        yield {}["missing"]

    def mistaken(request: Request) -> str:
        raised = []
        for options in ({"param": "typo"}, {"data": rows()}):
            try:
                request.backend.post("/fast", **options)
            except (TypeError, KeyError) as error:
                raised.append(type(error).__name__)
        return " ".join(raised)

    site = application_with_view(backend.url, mistaken)
    assert site.get("/view").json == "TypeError KeyError"


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


@contextmanager
def slow_server(
    wrap: Callable[[socket.socket], socket.socket], go: threading.Event
) -> Iterator[str]:
    """A server that sends half of its response, waits, and sends the other half."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            plain, _ = listening.accept()
            with wrap(plain) as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
                go.wait(20)
                connection.sendall(b"lf")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_client_continues_to_read_after_a_check(
    tmp_path: Path, pool: ThreadPoolExecutor, scheme: str
) -> None:
    authority, go = Authority(tmp_path), threading.Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certify(HERE))
    checks = []

    class Counted(Waits):
        def must_end(self, *args: Any) -> bool:
            checks.append(args)
            return super().must_end(*args)

    def wrap(plain: socket.socket) -> socket.socket:
        return context.wrap_socket(plain, server_side=True) if scheme == "https" else plain

    with slow_server(wrap, go) as address:

        def fetch() -> bytes:
            session = BoundedSession(60, str(authority.file))
            with LoadShedding(Counted(1)).call():
                return session.get(f"{scheme}://{address}/").content

        response = pool.submit(fetch)
        eventually(lambda: len(checks) > 3)
        go.set()
        assert response.result(20) == b"half"


def test_a_call_that_waits_for_a_connection_can_be_cancelled(pool: ThreadPoolExecutor) -> None:
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        stack.enter_context(socket.create_connection(address))  # it fills the queue
        shedding = LoadShedding(Waits(2))

        def fetch() -> None:
            with shedding.call():
                BoundedSession(3).get("http://{}:{}/".format(*address))

        connecting = [pool.submit(fetch) for _ in range(3)]
        errors = [type(each.exception(20)).__name__ for each in connecting]
        assert sorted(errors) == ["CallCancelled", "ConnectTimeout", "ConnectTimeout"]


def test_an_error_of_a_connection_is_raised_as_usual() -> None:
    with pytest.raises(requests.ConnectionError), LoadShedding(Waits(2)).call():
        BoundedSession(60).get("http://127.0.0.1:1/")


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


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_that_cannot_be_cancelled_have_precedence() -> None:
    clock = Clock()
    waits = Waits(2, clock)
    with ExitStack() as stack:
        call = stack.enter_context(waits.waiting(can_be_cancelled=True))
        later = stack.enter_context(waits.waiting(can_be_cancelled=True))
        clock.now += 1
        assert waits.are_full(1)
        assert not waits.are_full(1.5)
        renewal = stack.enter_context(waits.waiting())
        assert not any(waits.must_end(each, 1) for each in (call, later, renewal))
        clock.now += 1
        assert [waits.must_end(each, 1) for each in (call, later, renewal)] == [False, True, False]


def test_a_call_that_was_cancelled_counts_until_the_backend_responds() -> None:
    clock = Clock()
    shedding = LoadShedding(Waits(1, clock), clock)

    def give_up() -> None:
        with shedding.call():
            clock.now += 0.9
            raise CallCancelled("")

    with shedding.waits.waiting():
        for _ in range(2):
            with pytest.raises(CallCancelled):
                give_up()
        assert shedding.is_full
        with shedding.call(), pytest.raises(CallNotPermitted):
            give_up()
        shedding.times.answered(0.1)
        assert not shedding.is_full
        shedding.times.answered(0.1)
        with shedding.call():
            pass
