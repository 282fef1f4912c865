"""The cost of the notices by which Redis tells each process of sign-outs.

With these notices, a request does not have to ask Redis whether its session is revoked.

- *commands*: how many commands Redis executes while four processes serve requests of one fresh
  session as fast as they can. ``INFO commandstats`` of all primaries counts them. The regular
  commands of the processes and of the Sentinels are included.
- *authapp adds*: the time of the page with authapp minus the time of the page without sign-in, in
  one process. The store in memory sends no notices. In the row "Redis, 1 ms away", a proxy in front
  of Redis delays each direction by 0.5 ms.
- *refusals*: the time from the response to a sign-out at one process until another process has
  refused a request with the signed-out session. Each of the other three processes has a request
  running all the time. The time includes the refused request itself.
"""

import http.client
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

from authapp.services import IServices
from authapp.session.session import Session
from benchmarks.pyramid_pages import pyramid_page
from benchmarks.rounds import (
    Target,
    differences,
    measure,
    microseconds,
    ratios,
    table,
    turn,
)
from benchmarks.samples import SECRET, small
from benchmarks.serving import ServedPage, cookie_of
from benchmarks.visits import wsgi
from eventually import eventually
from servers.redis_group import ClusterGroup, SentinelGroup
from servers.redis_server import Address, RedisServer
from site_under_test import settings

TITLE = "Sign-outs, told and not asked"
PROCESSES = 4
SECONDS = 8.0
SIGN_OUTS = 400
ROUNDS = 301
NOT_OURS = ("cmdstat_info", "cmdstat_ping", "cmdstat_replconf", "cmdstat_psync")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Delayed(Address):
    """A proxy in front of Redis that delays all data by 0.5 ms in each direction."""

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(0.0005)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        source.close()


class Client:
    """A client with one connection to one process. The connection stays open."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=20)

    def ask(self, path: str, cookie: str, method: str = "GET", **form: str) -> tuple[int, bytes]:
        """Send a request. Return the status and the body of the response."""
        head = {"Cookie": cookie, "Accept": "text/html", **(FORM if form else {})}
        self._connection.request(method, path, urlencode(form) or None, head)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def commands(clients: Sequence[Any]) -> int:
    """Return the number of commands that some Redis servers have executed.

    INFO, PING and the commands of replication do not count.
    """
    return sum(
        each["calls"]
        for client in clients
        for name, each in client.info("commandstats").items()
        if name.partition("|")[0] not in NOT_OURS
    )


def is_told(site: ServedPage, cookie: str, clients: Sequence[Any]) -> bool:
    """Return True if a process gets notices of sign-outs, and so does not ask Redis.

    Then 100 requests cause fewer than 50 commands of Redis. Without notices, each request asks.
    """
    client, before = Client(site.url), commands(clients)
    for _ in range(100):
        client.ask("/page", cookie)
    client.close()
    return commands(clients) - before < 50


def serve(stack: ExitStack, shared: str) -> list[ServedPage]:
    """Start four processes of the site, which share a store and have no backend."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return [
        stack.enter_context(ServedPage(folder, "authapp", shared=shared)) for _ in range(PROCESSES)
    ]


def all_at_once(works: Sequence[Callable[[], object]]) -> None:
    """Run functions in threads at the same time, and wait until all have returned."""
    threads = [threading.Thread(target=work) for work in works]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def fresh_requests(sites: Sequence[ServedPage], clients: Sequence[Any]) -> tuple[int, int]:
    """Send requests of a fresh session to all processes for some seconds.

    :returns: the number of requests, and the number of commands that Redis has executed meanwhile.
    """
    cookie, counts = cookie_of(small()), []
    for site in sites:
        eventually(partial(is_told, site, cookie, clients), 60)
    before, end = commands(clients), time.monotonic() + SECONDS

    def visit(site: ServedPage) -> None:
        client, number = Client(site.url), 0
        while time.monotonic() < end:
            assert client.ask("/page", cookie)[0] == 200
            number += 1
        client.close()
        counts.append(number)

    all_at_once([partial(visit, site) for site in sites])
    return sum(counts), commands(clients) - before


def sign_out(client: Client, watchers: Sequence[Client]) -> list[float]:
    """Sign a session out at one process.

    :returns: for each other process, the seconds from the response until the process has refused
        the session.
    """
    cookie = cookie_of(small())
    csrf = json.loads(client.ask("/session", cookie)[1])["csrf_token"]
    ready = threading.Barrier(1 + len(watchers))
    moments: dict[Client, float] = {}

    def watch(watcher: Client) -> None:
        assert watcher.ask("/page", cookie)[0] == 200
        ready.wait()
        while watcher.ask("/page", cookie)[0] == 200:
            pass
        moments[watcher] = time.monotonic()

    def leave() -> None:
        ready.wait()
        status, _ = client.ask("/logout", cookie, "POST", csrf_token=csrf)
        moments[client] = time.monotonic()
        assert status == 303, status

    all_at_once([leave, *(partial(watch, each) for each in watchers)])
    done = moments.pop(client)
    return [max(0.0, each - done) for each in moments.values()]


def sign_outs(sites: Sequence[ServedPage]) -> list[float]:
    """Sign 400 sessions out at the first process.

    :returns: the seconds until each of the other processes has refused each session, sorted.
    """
    client, *watchers = [Client(site.url) for site in sites]
    seconds = [each for _ in range(SIGN_OUTS) for each in sign_out(client, watchers)]
    for each in (client, *watchers):
        each.close()
    return sorted(seconds)


def page_with(session: Session, shared: str) -> Callable[[], bytes]:
    """Return a function that visits the page with authapp.

    :param shared: the store that authapp uses: the setting ``authapp.shared``.
    """
    ini = settings("http://localhost:9", shared=shared) | {"authapp.secret": SECRET}
    app = pyramid_page(lambda config: config.include("authapp"), **ini)
    visit: Callable[[], bytes] = wsgi(app, HTTP_COOKIE=cookie_of(session))
    notices = getattr(app.registry.getUtility(IServices).store, "_notices", None)
    if notices is not None:
        eventually(lambda: visit() and notices.moment() is not None, 20)
    return visit


def report() -> tuple[str, list[Target]]:
    """Measure everything. Return the text and the targets."""
    rows, targets = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(folder)
        stack.callback(redis.close)
        sentinel, cluster = SentinelGroup(folder), ClusterGroup(folder)
        stack.callback(sentinel.close)
        stack.callback(cluster.close)
        kinds: dict[str, tuple[str, list[Any]]] = {
            "one address": (redis.url, [redis.client]),
            "Sentinel": (sentinel.url, [sentinel.primary().client]),
            "cluster": (cluster.url, [each.client for each in cluster.primaries().values()]),
        }
        seconds: list[float] = []
        for kind, (url, clients) in kinds.items():
            with ExitStack() as served:
                sites = serve(served, url)
                requests, sent = fresh_requests(sites, clients)
                if kind == "one address":
                    seconds = sign_outs(sites)
            rows.append([kind, f"{requests:,}", f"{sent:,}", f"{sent / requests:.4f}"])
            targets.append(Target(f"commands a fresh request, {kind}", 0.05, [sent / requests], ""))
        delayed = Delayed(redis)
        stack.callback(delayed.close)
        session = small()
        turns = {"no sign-in": turn(wsgi(pyramid_page()), time.perf_counter)}
        for name, shared in (
            ("memory:", "memory:"),
            ("Redis", redis.url),
            ("Redis, 1 ms away", delayed.url),
        ):
            turns[name] = turn(page_with(session, shared), time.perf_counter)
        times = measure(turns, ROUNDS)
        plain = times.pop("no sign-in")
        added = {name: differences(each, plain) for name, each in times.items()}
        costs = [["no sign-in", microseconds(median(plain)), "", ""]]
        for name, each in added.items():
            than = ratios(each, added["memory:"])
            costs.append(
                [name, microseconds(median(times[name])), microseconds(median(each)),
                 f"{median(each) / median(added['memory:']):.2f} x"]
            )  # fmt: skip
            if name != "memory:":
                targets.append(Target(f"what authapp adds, {name} to memory:", 1.1, than))
    late = [seconds[int(len(seconds) * share)] * 1000 for share in (0.5, 0.99, 0.999)]
    targets.append(Target("sign-out refused by the others, median", 20, late[:1], " ms"))
    targets.append(Target("sign-out refused by the others, 999 of 1,000", 150, late[2:], " ms"))
    text = table(["store", "requests", "commands", "commands a request"], rows)
    text += "\n" + table(["store", "request", "authapp adds", "to memory:"], costs)
    text += (
        f"\n{len(seconds):,} refusals after {SIGN_OUTS} sign-outs: median {late[0]:.1f} ms,"
        f" 99 of 100 within {late[1]:.1f} ms, 999 of 1,000 within {late[2]:.1f} ms.\n"
    )
    return text, targets
