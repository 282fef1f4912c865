"""Threat O3. Before the server stops, it responds to all requests that it has accepted."""

import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from authapp.server import serve
from eventually import eventually


@pytest.fixture(autouse=True)
def ignore_late_sigterm() -> Iterator[None]:
    """Ignore a SIGTERM that arrives after the server has stopped."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def until_stopped(client: Callable[[str], Any], app: Callable[..., Any], **options: str) -> Any:
    """Run the server in this thread, which receives signals, and a client in another thread.

    The server stops when the client has returned.

    :param client: a function that takes the URL of the server.
    :returns: a list with the value that the client has returned.
    """
    url, results = f"127.0.0.1:{free_port()}", []

    def run() -> None:
        try:
            results.append(client(f"http://{url}/"))
        finally:
            terminate()

    thread = threading.Thread(target=run)
    thread.start()
    assert serve(app, {}, **{**options, "listen": url}) == 0
    thread.join(10)
    return results


def get(url: str, **options: Any) -> requests.Response:
    """Send a GET request. Try again until the server accepts connections."""
    while True:
        try:
            return requests.get(url, timeout=10, **options)
        except requests.ConnectionError:
            continue


def test_o3_accepted_requests_are_answered_and_new_ones_are_refused() -> None:
    refused = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Stop the server during this request. Wait until it refuses connections, then respond."""
        terminate()
        host, port = environ["SERVER_NAME"], int(environ["SERVER_PORT"])
        while True:
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                break
        refused.set()
        start_response("200 OK", [])
        return [b"x" * 1_000_000]

    (answer,) = until_stopped(get, app)
    assert refused.is_set()
    assert len(answer.content) == 1_000_000


def test_o3_waiting_connections_are_answered_before_the_stop() -> None:
    """Threat O3. If five connections are opened while a signal handler keeps the server's thread
    busy, they get a response before the server stops."""
    knocking: list[socket.socket] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def client(url: str) -> list[bytes]:
        get(url)
        host, port = url[7:-1].split(":")

        def knock(*signal: Any) -> None:
            for _ in range(5):
                connection = socket.create_connection((host, int(port)), timeout=10)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                knocking.append(connection)
            terminate()

        handlers.append(knock)
        os.kill(os.getpid(), signal.SIGUSR1)
        while len(knocking) < 5:
            pass
        return [connection.makefile("rb").read() for connection in knocking]

    handlers: list[Callable[..., None]] = []
    before = signal.signal(signal.SIGUSR1, lambda *told: handlers[0](*told))
    try:
        (answers,) = until_stopped(client, app)
    finally:
        signal.signal(signal.SIGUSR1, before)
        for connection in knocking:
            connection.close()
    assert [answer.endswith(b"ok") for answer in answers] == [True] * 5


def test_o3_the_server_waits_no_longer_than_drain() -> None:
    """Threat O3. When the server stops, it waits at most ``drain`` seconds for a client that does
    not read its response."""
    ended = threading.Event()
    size = 8_000_000

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        terminate()
        start_response("200 OK", [])
        return [b"x" * size]

    def client(url: str) -> int:
        answer = get(url, stream=True)
        ended.wait(10)
        try:
            return sum(len(piece) for piece in answer.iter_content(65_536))
        except requests.RequestException:
            return 0

    thread = threading.Thread(target=lambda: results.append(client(url)))
    port, results = free_port(), []
    url = f"http://127.0.0.1:{port}/"
    thread.start()
    serve(app, {}, listen=f"127.0.0.1:{port}", drain="0.1")
    ended.set()
    thread.join(10)
    assert sum(results) < size


@pytest.mark.parametrize("drain", ["30s", "-5", "", "soon"])
def test_an_invalid_drain_is_refused_at_start_up(drain: str) -> None:
    with pytest.raises(ValueError, match=f"drain = '{drain}': seconds such as 30 are allowed"):
        serve(None, {}, drain=drain)  # type: ignore[arg-type]


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=f"in use: listen = {listen}"):
            serve(lambda *_: [], {}, listen=listen)
        host, port = listen.split(":")
        with pytest.raises(OSError, match=f"in use: host = {host} port = {port}"):
            serve(lambda *_: [], {}, host=host, port=port)


def test_a6_with_production_ini_clients_cannot_set_the_host() -> None:
    """Threat A6. nginx passes on headers that it does not set, such as X-Forwarded-Host. With
    production.ini, these headers do not change the host."""
    ini = ConfigParser()
    ini.read(Path(__file__).parents[2] / "production.ini")
    options = {key: value for key, value in ini["server:main"].items() if key != "use"}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        names = ("wsgi.url_scheme", "HTTP_HOST", "REMOTE_ADDR")
        return [" ".join(environ[name] for name in names).encode()]

    def client(url: str) -> str:
        said = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        spoofed = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        return get(url, headers={"Host": "www.example.com", **said, **spoofed}).text

    assert until_stopped(client, app, **options) == ["https www.example.com 192.0.2.1"]


def test_an_interrupt_stops_the_server() -> None:
    def client(url: str) -> int:
        status = get(url).status_code
        os.kill(os.getpid(), signal.SIGINT)
        return status

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    assert until_stopped(client, app) == [204]


def test_idle_connections_do_not_block_new_ones() -> None:
    """If there are more connections than ``connection_limit``, the server closes those that have
    been idle for the longest time."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    def client(url: str) -> int:
        get(url)
        host, port = url[7:-1].split(":")
        idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(60)]
        try:
            return get(url).status_code
        finally:
            for connection in idle:
                connection.close()

    assert until_stopped(client, app, connection_limit="20") == [204]


HEADER = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"


def no_content(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


@contextmanager
def connections(url: str, sent: bytes, number: int = 1) -> Iterator[list[socket.socket]]:
    """Open connections, and send the same bytes on each of them."""
    host, port = url[7:-1].split(":")
    with ExitStack() as opened:
        found = []
        for _ in range(number):
            connection = socket.create_connection((host, int(port)), timeout=10)
            found.append(opened.enter_context(connection))
            connection.sendall(sent)
        yield found


def body(connection: socket.socket) -> bytes:
    """Read a response until its end, and return its body."""
    with connection.makefile("rb") as file:
        return file.read().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("sent", [b"G", b"\r\n", HEADER, HEADER + b"\r\n1"])
def test_incomplete_requests_do_not_block_new_ones(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there are more connections than ``connection_limit``, the server closes those whose
    request has not arrived completely. A request in progress is finished."""
    monkeypatch.setattr("authapp.server._IDLE", 60.0)  # this machine may be slow
    began, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/":
            return no_content(environ, start_response)
        began.set()
        go_on.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    def client(url: str) -> tuple[int, bytes]:
        get(url)
        with connections(url, b"GET /waits HTTP/1.0\r\n\r\n") as (waiting,):
            began.wait(10)
            with connections(url, sent, 60):
                status = requests.get(url, timeout=10).status_code
            go_on.set()
            return status, body(waiting)

    assert until_stopped(client, app, connection_limit="20") == [(204, b"done")]


def test_a_response_that_its_client_has_not_read_is_finished() -> None:
    size = 30_000_000  # more than the buffers of the two sockets hold

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/":
            return no_content(environ, start_response)
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    def client(url: str) -> int:
        get(url)
        with connections(url, b"GET /large HTTP/1.0\r\n\r\n") as (unread,):
            unread.recv(1, socket.MSG_PEEK)
            get(url)  # the only thread of the server has finished the large response
            with connections(url, b"", 60):
                get(url)
            return len(body(unread))

    assert until_stopped(client, app, connection_limit="20", threads="1") == [size]


def test_idle_connections_are_closed_before_incomplete_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("authapp.server._IDLE", 0.0)  # a connection is idle at once

    def client(url: str) -> bytes:
        get(url)
        with connections(url, HEADER) as (slow,), connections(url, b"", 60):
            get(url)
            slow.sendall(b"\r\n12")
            return slow.recv(12)

    assert until_stopped(client, no_content, connection_limit="20") == [b"HTTP/1.1 204"]


@pytest.mark.parametrize("hard", [500, 100_000, resource.RLIM_INFINITY])
def test_the_limit_of_open_files_is_raised(
    hard: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server raises the limit of open files. The limit applies to the whole test process, so
    the test replaces the system calls."""
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: raised.append(limits))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    until_stopped(lambda url: get(url), app)
    assert raised == [(500 if hard == 500 else 1100, hard)]
    assert ("OpenFiles: this process may open 500 files" in caplog.text) is (hard == 500)


def test_the_application_learns_which_headers_with_underscores_were_dropped() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        seen = sorted(environ["authapp.underscored"]), environ.get("HTTP_X_USER")
        return [repr(seen).encode()]

    headers = {"X_User": "evil", "x-a_b": "evil", "X-User": "good", "Cookie": "a_b=1"}
    names = until_stopped(lambda url: (get(url, headers=headers).text, get(url).text), app)
    assert names == [("(['HTTP_X_A_B', 'HTTP_X_USER'], 'good')", "([], None)")]


def test_the_application_learns_that_the_client_has_gone() -> None:
    noticed: list[bool] = []
    began, ended = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        is_gone = environ["waitress.client_disconnected"]
        if environ["PATH_INFO"] == "/":
            return no_content(environ, start_response)
        noticed.append(is_gone())
        began.set()
        eventually(is_gone)
        noticed.append(is_gone())
        ended.set()
        return no_content(environ, start_response)

    def client(url: str) -> None:
        get(url)
        with connections(url, b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            assert began.wait(10)
        assert ended.wait(10)

    until_stopped(client, app)
    assert noticed == [False, True]
