"""A site with a view that calls the backend, and calls that hang until a test lets them go."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pyramid.request import Request
from webob import Response

from authapp.backend import bulkhead
from authapp.backend.bulkhead import Waits
from eventually import eventually
from servers import Served
from site_under_test import Site, application_with_view

AT_ONCE = 4
SLOTS = 3


def call(request: Request) -> Any:
    """A view of the application. It calls the path of the backend that the query names."""
    asked = request.params
    options = {"data": b"body"} if asked.get("method") == "POST" else {}
    response = request.backend.request(
        asked.get("method", "GET"), asked["path"], stream="stream" in asked, **options
    )
    return [response.status_code, len(response.content)]


@pytest.fixture
def site(backend: Served) -> Site:
    site = application_with_view(backend.url, call, backend__timeout="60")
    site.sign_in("alice", status=303)
    return site


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def go(backend: Served) -> Iterator[threading.Event]:
    """``/slow`` hangs until this event is set."""
    go = threading.Event()
    backend.instead["/slow"] = lambda request: go.wait(60) and ok(request)
    backend.instead["/fast"] = ok
    yield go
    go.set()


def ok(request: Any) -> Response:
    return Response(json_body={})


def get(site: Site, path: str, **query: str) -> int:
    return int(site.twin().get("/view", {"path": path, **query}, status="*").status_int)


def all_waits(site: Site) -> Waits:
    found: Waits = site.services.backend._shedding.waits
    return found


def hang(site: Site, pool: ThreadPoolExecutor, count: int) -> "list[Future[int]]":
    """Start calls that hang, until each has waited for the slow-call threshold."""
    hanging = [pool.submit(get, site, "/slow") for _ in range(count)]
    eventually(lambda: len(all_waits(site)._long(bulkhead.SLOW_CALL)) == count)
    return hanging
