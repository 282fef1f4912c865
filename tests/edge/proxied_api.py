"""APIs to which the proxy of a site passes requests on, and the site, where Alice is signed in."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from webob import Request, Response

from servers import Served, Servers
from site_under_test import Site


def echo(request: Request) -> Response:
    """The response of the API: the request that it got, as JSON."""
    response = Response(content_type="application/json")
    response.json_body = {
        "method": request.method,
        "path": request.environ["REQUEST_URI"],
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
    }
    return response


@pytest.fixture
def api(servers: Servers) -> Iterator[Served]:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        return echo(Request(environ))(environ, start_response)

    with servers.serve(application) as served:
        yield served


class Signed(Site):
    """A site that passes requests on to an API. alice is signed in."""

    def __init__(self, backend: Served, url: str, **keys: str) -> None:
        super().__init__(backend.url, proxy=f"/api = {url}", **keys)
        self.sign_in("alice")
        self.csrf_header = {"X-CSRF-Token": self.csrf()}


@pytest.fixture
def site(backend: Served, api: Served) -> Signed:
    return Signed(backend, f"{api.url}/v1")


class Raw:
    """An API that sends exactly the given bytes: the first answer on the first connection, the
    second answer on the second connection, and so on."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.got: list[bytes] = []
        self._answers = answers
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        threads = []
        for answer in self._answers:
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection, answer), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()

    def _serve(
        self, connection: socket.socket, answer: bytes | Callable[[socket.socket], None]
    ) -> None:
        with connection:
            self.got.append(connection.recv(65_536))
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer)

    def __enter__(self) -> "Raw":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(10)
        self._listener.close()
