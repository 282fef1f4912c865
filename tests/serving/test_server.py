"""O3. The server that finishes what has begun."""

import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import requests

from authapp.server import serve


@pytest.fixture(autouse=True)
def survives() -> Iterator[None]:
    """A signal that comes when the server has ended is nobody's."""
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
    """Serve in this thread, which signals go to, while another one is the client."""
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
    """As soon as it is there."""
    while True:
        try:
            return requests.get(url, timeout=10, **options)
        except requests.ConnectionError:
            continue


def test_o3_what_has_begun_is_answered_and_nothing_else_is_taken() -> None:
    refused = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Is told to stop in the middle, and ends when nobody is let in any more."""
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


def test_o3_who_has_knocked_already_is_answered() -> None:
    """Five at once, while the server's thread is kept busy by a handler of a signal."""
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


def test_o3_it_waits_no_longer_than_it_is_told() -> None:
    """For somebody who does not take the answer, say."""
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
def test_how_long_it_may_wait_is_read_at_once(drain: str) -> None:
    with pytest.raises(ValueError, match=f"drain = '{drain}': seconds such as 30 are allowed"):
        serve(None, {}, drain=drain)  # type: ignore[arg-type]


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=f"in use: listen = {listen}"):
            serve(lambda *_: [], {}, listen=listen)
        host, port = listen.split(":")
        with pytest.raises(OSError, match=f"in use: host = {host} port = {port}"):
            serve(lambda *_: [], {}, host=host, port=port)


def test_a6_with_production_ini_no_visitor_says_where_the_site_is() -> None:
    """A6. nginx passes on what it does not set, X-Forwarded-Host say."""
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


def test_an_interrupt_ends_it_at_once() -> None:
    def client(url: str) -> int:
        status = get(url).status_code
        os.kill(os.getpid(), signal.SIGINT)
        return status

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    assert until_stopped(client, app) == [204]


def test_idle_connections_keep_nobody_out() -> None:
    """More of them than the server takes: those that have been idle longest are closed."""

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


@pytest.mark.parametrize("hard", [500, 100_000, resource.RLIM_INFINITY])
def test_open_files_are_allowed_for(
    hard: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system's limits are the process's own, so they are put in its place here."""
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: raised.append(limits))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    until_stopped(lambda url: get(url), app)
    assert raised == [(500 if hard == 500 else 1100, hard)]
    assert ("OpenFiles: the limit is 500" in caplog.text) is (hard == 500)
