"""Visits to a page of a WSGI or ASGI application, which is called in this process without a
server."""

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any

from webob import Request

from authapp.services import IServices
from authapp.session.session import Session
from benchmarks.rounds import Turn
from site_under_test import settings

Forget = Callable[[], None]
"""A function that clears the caches of sessions, so that authapp decrypts the next session."""

PRODUCTION = settings("https://localhost:9", development="false")


def wsgi(app: Any, path: str = "/page", **environ: str) -> Callable[[], bytes]:
    """Return a function that visits a page and returns its body.

    :param environ: the keys that a signed-in user's request adds to the WSGI environ.
    """
    sent = Request.blank(path, base_url="https://localhost").environ | environ
    statuses = []

    def start_response(status: str, headers: Any, error: Any = None) -> Any:
        statuses[:] = [status]

    def visit() -> bytes:
        answer = app({**sent, "wsgi.input": io.BytesIO()}, start_response)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return body

    body = visit()
    expected = b"Hello 1" if environ else b"Hello nobody"
    assert statuses == ["200 OK"], (statuses, body)
    assert expected in body, body
    return visit


def asgi(app: Any, path: str = "/page", cookie: str = "") -> Turn:
    """Return a turn that visits a page of an ASGI application. Starting the event loop is not
    measured."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent[:] = [*sent[-1:], message]

    async def visits(number: int) -> float:
        began = time.process_time()
        for _ in range(number):
            await app(dict(scope), receive, send)
        return (time.process_time() - began) / number

    asyncio.run(visits(1))
    expected = b"Hello 1" if cookie else b"Hello nobody"
    assert expected in sent[-1]["body"], sent
    return lambda number: asyncio.run(visits(number))


def with_authapp(
    page: Callable[..., Any], session: Session, **ini: str
) -> tuple[Any, dict[str, str], Forget]:
    """Return an application with authapp, the environ keys of a signed-in user, and a
    :data:`Forget`.

    The settings are those of production.

    :param page: a function that returns an application. Its parameters are a function that includes
        authapp, and the settings.
    """
    app = page(lambda config: config.include("authapp"), **(PRODUCTION | ini))
    parts = app.registry.getUtility(IServices)

    def forget() -> None:
        parts.cookie_reader.cached.cache_clear()
        parts.sealer.open.cache_clear()

    return app, header(app, session), forget


def header(app: Any, session: Session) -> dict[str, str]:
    """Return the ``Cookie`` header with a session, as an entry of the WSGI environ."""
    parts = app.registry.getUtility(IServices)
    return {"HTTP_COOKIE": f"{parts.cookie.name}={parts.sealer.seal(session)}"}
