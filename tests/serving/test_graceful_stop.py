"""Threat O3. Before the server stops, it responds to all requests that it has accepted."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import requests

from authapp.server import serve
from serving.server_in_process import free_port, get, terminate, until_stopped


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


def test_an_interrupt_stops_the_server() -> None:
    def client(url: str) -> int:
        status = get(url).status_code
        os.kill(os.getpid(), signal.SIGINT)
        return status

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    assert until_stopped(client, app) == [204]
