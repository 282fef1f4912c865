"""authapp's server in the test process, and clients that send it requests."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from authapp.server import serve


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
