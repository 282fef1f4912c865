"""Two processes that renew one session at the same time.

Two applications in one process stand for the two processes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from webob import Response as Answer

from eventually import eventually
from renewal.phases import page
from servers import REFRESH, Served
from servers.redis_server import RedisServer
from site_under_test import Site


def wait_until_the_lease_is_polled(redis_server: RedisServer) -> None:
    """Wait until a process that waits for the lease has asked Redis for it several times."""

    def asked() -> int:
        return int(redis_server.client.info("commandstats")["cmdstat_set"]["calls"])

    enough = asked() + 3
    eventually(lambda: asked() >= enough, 5)


def blocked(backend: Served, path: str = REFRESH) -> tuple[Event, Event]:
    """Make the backend handle each request, and then block the response.

    :returns: an event that is set when a request arrives, and an event that ends the blocking.
    """
    come, go = Event(), Event()

    def wait(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        come.set()
        assert go.wait(10)
        return answer

    backend.instead[path] = wait
    return come, go


def one_renews_the_other_waits(
    sites: list[Site],
    redis_server: RedisServer,
    come: Event,
    go: Event,
    status: int = 200,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Send a request to each of the two sites. The first site waits for the backend, and the second
    site waits for the renewal of the first.

    :param come: an event that is set when the first site has called the backend.
    :param go: an event that makes the backend respond.
    :param status: the status that both responses must have.
    :param meanwhile: a function that is called while both sites wait.
    :returns: the responses of both sites.
    """
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(page, sites[0], status=status)
        assert come.wait(20)
        second = pool.submit(page, sites[1], status=status)
        wait_until_the_lease_is_polled(redis_server)
        meanwhile()
        go.set()
        return [first.result(20), second.result(5)]
