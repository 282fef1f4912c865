"""The HTTP client limits what a misbehaving server can do.

These are the threats B1 to B5, and B8, in docs/security.md.
"""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from authapp.backend import http_client as transport
from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import (
    MAX_RESPONSE,
    MAX_RETRY_AFTER,
    fetch_object,
    unreachable,
)
from authapp.backend.protocol import BackendUnavailable, Credentials
from site_under_test import description

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def server(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a TCP server that reads a request and then calls ``speak`` with the connection. Yield its
    URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                with suppress(OSError):  # the client closes the connection, as the test expects
                    speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(10)


def failure_reason(url: str, timeout: float = 0.3) -> str:
    with pytest.raises(BackendUnavailable) as caught:
        fetch_object(BoundedSession(timeout), url)
    return caught.value.reason


def send_slowly(connection: socket.socket, head: bytes) -> None:
    connection.sendall(head)
    for _ in range(1000):
        connection.sendall(b" ")
        threading.Event().wait(0.02)


def test_b1_redirects_are_not_followed() -> None:
    """Threat B1. authapp does not follow a redirect of the backend. A plain ``requests.Session``
    would follow it, and would send the password to the other server."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with server(lambda connection: connection.sendall(moved)) as url:
        backend = HTTPBackend(requests.Session(), url.rstrip("/"), description())
        with pytest.raises(BackendUnavailable, match="status 307"):
            backend.login(Credentials("alice", "password"))


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX: ", OK + b"Content-Length: 9999\r\n\r\n"]
)
def test_b4_a_slow_response_has_one_deadline(head: bytes) -> None:
    with server(lambda connection: send_slowly(connection, head)) as url:
        began = time.monotonic()
        failure_reason(url)
        assert time.monotonic() - began < 5


def test_b4_a_read_after_the_deadline_raises_timeout_error() -> None:
    here, there = socket.socketpair()
    with here, there, here.makefile("rb") as file:
        there.sendall(b"x")
        here.settimeout(0.001)
        reader = transport._DeadlineReader(here, file)
        over = time.monotonic() + 0.001
        while time.monotonic() <= over:
            pass
        with pytest.raises(TimeoutError):
            reader.readinto(bytearray(1))


def test_b4_a_missing_response_times_out() -> None:
    gone = threading.Event()
    with server(lambda connection: print(gone.wait(5))) as url:
        assert failure_reason(url).split()[0] in ("ReadTimeout", "ConnectionError")
        gone.set()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("9" * 30, MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2037 07:28:00 GMT", MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("9" * 5000, None),
    ],
)
def test_b8_retry_after_is_parsed_and_limited(said: str, seconds: float | None) -> None:
    answer = f"HTTP/1.1 503 No\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        server(lambda connection: connection.sendall(answer)) as url,
        pytest.raises(BackendUnavailable) as caught,
    ):
        fetch_object(BoundedSession(5), url)
    assert caught.value.retry_after == seconds


def test_b5_a_truncated_body_is_rejected() -> None:
    half = OK + b'Content-Length: 100\r\n\r\n{"a":'
    with server(lambda connection: connection.sendall(half)) as url:
        told = failure_reason(url).partition(" at ")[0].partition(", from")[0]
        assert told in ("ProtocolError", "status 200, not a JSON object")
    chunked = OK + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":'
    with server(lambda connection: connection.sendall(chunked)) as url:
        assert failure_reason(url) == f"ProtocolError at {url[7:]}"


def test_b5_a_compressed_response_is_rejected() -> None:
    """Threat B5. authapp rejects a compressed response, because 20 KB of gzip can expand to 20
    MB."""
    bomb = gzip.compress(b" " * 20_000_000)
    head = OK + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    with server(lambda connection: connection.sendall(head + bomb)) as url:
        assert failure_reason(url, 5) == "a compressed response, which was not requested"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000),
    ],
    ids=["interim responses", "trailers"],
)
def test_b5_headers_and_trailers_are_limited(begin: bytes, more: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(more)

    with server(speak) as url:
        assert failure_reason(url, 60).startswith(("ProtocolError", "ConnectionError"))


def test_b5_an_oversized_response_is_rejected() -> None:
    sent = 0

    def speak(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(OK + b"Content-Length: 100000000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" " * 1_000_000)
            sent += 1

    with server(speak) as url:
        assert failure_reason(url, 5) == f"a response of more than {MAX_RESPONSE} bytes"
    assert sent < 100


HEADS = {
    "long headers": b"".join(b"X-%d: " % number + b"x" * 1000 + b"\r\n" for number in range(90)),
    "one long header": b"X: " + b"x" * 65_000 + b"\r\nY: " + b"y" * 10_000 + b"\r\n",
    "escapes": b'Set-Cookie: a="' + b"\\" * 65_000 + b'"\r\nY: ' + b"y" * 10_000 + b"\r\n",
    "interim responses": b"\r\nHTTP/1.1 100 Continue\r\n" * 4000,
}


@pytest.mark.parametrize("head", HEADS)
def test_b5_a_large_head_is_rejected(head: str) -> None:
    first = b"HTTP/1.1 100 Continue\r\n" if head == "interim responses" else OK
    answer = first + HEADS[head] + b"\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"
    with server(lambda connection: connection.sendall(answer)) as url:
        assert failure_reason(url, 5) == f"ConnectionError (HeadTooLarge) at {url[7:]}"


def test_b5_a_head_of_60_kib_and_a_body_of_256_kib_are_accepted() -> None:
    long = b"".join(b"X-%d: " % number + b"x" * 1000 + b"\r\n" for number in range(59))
    body = b'{"a": "' + b"a" * (MAX_RESPONSE - 9) + b'"}'
    answer = OK + long + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with server(lambda connection: connection.sendall(answer)) as url:
        assert len(fetch_object(BoundedSession(5), url)["a"]) == MAX_RESPONSE - 9


@pytest.mark.parametrize("escape", [b"\\", b"\\a", b"\\101", b'"', b"a=b,", b"a "])
def test_b4_the_cookies_of_a_response_are_read_in_linear_time(escape: bytes) -> None:
    """Threat B4. authapp parses a hostile header of 60 KB in 0.05 seconds. (A garbage collection
    can add half a second in a long test run.) ``http.cookies`` needed 12 seconds (CVE-2024-7592).
    The deadline of a response does not limit this time."""
    cookie = b'Set-Cookie: a="' + escape * (60_000 // len(escape)) + b'"\r\n'
    answer = OK + cookie + b"Content-Length: 2\r\n\r\n{}"
    with server(lambda connection: connection.sendall(answer)) as url:
        began = time.thread_time()
        assert fetch_object(BoundedSession(5), url) == {}
        assert time.thread_time() - began < 3


def test_b5_a_response_that_is_not_http_is_rejected() -> None:
    with server(lambda connection: connection.sendall(b"hello\r\n")) as url:
        assert failure_reason(url) == f"ConnectionError (BadStatusLine) at {url[7:]}"


def test_b2_proxy_environment_variables_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(lambda connection: connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")) as url:
        assert fetch_object(BoundedSession(2), url) == {}


def test_a_read_timeout_of_none_sets_no_deadline() -> None:
    with server(lambda connection: connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")) as url:
        assert BoundedSession(2).get(url, timeout=(1, None)).json() == {}


def test_a_refused_connection_is_reported_without_credentials() -> None:
    said = failure_reason("http://name:secret@127.0.0.1:1/a")
    assert said == "ConnectionError (ConnectionRefusedError) at 127.0.0.1:1/a"


def test_a_complete_response_keeps_the_connection_open() -> None:
    answers = 0

    def speak(connection: socket.socket) -> None:
        nonlocal answers
        while True:
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")
            answers += 1
            if not connection.recv(65536):
                break

    session = BoundedSession(2)
    with server(speak) as url:
        for _ in range(3):
            assert fetch_object(session, url) == {}
        session.close()
    assert answers == 3
    assert isinstance(session, requests.Session)


def test_causes_that_are_chained_in_a_circle_are_followed_for_a_while() -> None:
    one, other = requests.ConnectionError(), OSError()
    one.__cause__, other.__cause__ = other, one
    assert unreachable(one, "here").reason == "ConnectionError (ConnectionError) at here"
