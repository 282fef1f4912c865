"""Backends for tests: real HTTP servers, which count their calls and can be made to fail."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from waitress import create_server
from webob import Request, Response

ISSUER_SETTINGS = {
    "issuer.secret": "secret-of-the-issuer-in-tests",
    "issuer.access_lifetime": "900",
    "issuer.refresh_lifetime": "604800",
    "issuer.users": """
        alice alice-password alice@example.com admin
        bob bob-password bob@example.com editor
        carol carol-password carol@example.com
    """,
}

NOT_VALID = {"detail": "Token is invalid", "code": "token_not_valid"}
"""The JSON of SimpleJWT's response (status 401) to a refresh token that is not valid."""

LOGIN, REFRESH, BLACKLIST = "/api/token/", "/api/token/refresh/", "/api/token/blacklist/"


class Served:
    """A WSGI application behind an HTTP server on this machine.

    :param port: the port, or 0 for a free port.
    :param options: options of waitress.
    :ivar calls: path -> the number of requests.
    :ivar instead: path -> a response that replaces the response of the application. It can also be
        a function that takes the request, and returns a response or None. If the function returns
        None, the application responds.
    """

    def __init__(self, application: Callable[..., Any], port: int = 0, **options: str) -> None:
        self.application = application
        self.calls: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.instead: dict[str, Response | Callable[[Request], Response | None]] = {}
        self._server = create_server(
            self._answer,
            host="127.0.0.1",
            port=port,
            threads=64,
            channel_timeout=10**9,  # tests move the clock
            **options,
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.effective_port}"

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        self.calls[request.path] += 1
        self.requests.append(request)
        instead = self.instead.get(request.path)
        if callable(instead) and not isinstance(instead, Response):
            instead = instead(request)
        return (instead or self.application)(environ, start_response)

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        server = self._server
        server.task_dispatcher.shutdown()
        # pull_trigger queues the function that closes all sockets, and then wakes the server's
        # thread. A thread that is awake already may run the function in between. Then the trigger
        # is closed too, and pull_trigger raises OSError.
        with suppress(OSError):
            server.trigger.pull_trigger(lambda: server.asyncore.close_all(server._map))
        self._thread.join(5)

    def clear(self) -> bool:
        """Close all connections. Empty ``calls``, ``requests`` and ``instead`` for the next test.

        :returns: True if no request is under way. Then another test can use the server.
        """
        closed = threading.Event()

        def close() -> None:
            for channel in list(self._server.active_channels.values()):
                channel.handle_close()
            closed.set()

        self._server.trigger.pull_trigger(close)
        assert closed.wait(5)
        for _ in range(20):  # the thread of the last response may be about to end its work
            if not self._server.task_dispatcher.active_count:
                break
            time.sleep(0.001)
        self.calls, self.requests, self.instead = Counter(), [], {}
        return not self._server.task_dispatcher.active_count


class Servers:
    """HTTP servers that tests use one after the other. To start a server costs 20 ms."""

    def __init__(self) -> None:
        self._idle: list[Served] = []

    @contextmanager
    def serve(self, application: Callable[..., Any]) -> Iterator[Served]:
        """Serve an application during one test."""
        served = self._idle.pop() if self._idle else Served(application).__enter__()
        served.application = application
        try:
            yield served
        finally:
            if served.clear():
                self._idle.append(served)
            else:
                served.__exit__()

    def close(self) -> None:
        for served in self._idle:
            served.__exit__()
