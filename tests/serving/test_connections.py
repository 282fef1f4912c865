"""Many connections, idle ones or ones with incomplete requests, do not block new ones."""

import resource
import socket
import threading
from typing import Any

import pytest
import requests

from serving.server_in_process import body, connections, get, no_content, until_stopped

HEADER = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"


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
