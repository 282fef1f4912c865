"""Which waiting call is cancelled, when, and in which state of its connection."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from authapp.backend.bulkhead import Waits
from authapp.backend.http_client import BoundedSession
from authapp.backend.load_shedding import LoadShedding
from authapp.backend.protocol import CallCancelled, CallNotPermitted
from backend import slow_calls
from eventually import eventually
from servers.tls import HERE, Authority

pool = slow_calls.pool  # a fixture


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
