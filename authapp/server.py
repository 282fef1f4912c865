"""The waitress server with a graceful stop: ``use = egg:authapp#server``.

waitress itself drops at SIGTERM whatever it is answering. For a renewal that means a refresh
token spent for nothing, and for a person a page that never comes. It also stops accepting when
its connections are all taken, even if every one of them is idle. This runner mends both.
"""

import logging
import re
import resource
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import WSGITask

log = logging.getLogger(__name__)

CONNECTION_LIMIT = "1000"
"""Connections of one process, unless the ini file says otherwise. waitress has 100, which the
idle connections of one nginx with four workers fill."""

ARRIVAL = 5.0
"""Seconds after SIGTERM within which a request that is still arriving must be complete."""

_TURN = 0.2
"""Seconds after which the loop checks whether it must stop."""

_OTHER_FILES = 100
"""Files a process has open beside its connections: log files, Redis, the backend."""


def serve(
    app: Callable[..., Any], global_config: dict[str, str], *, drain: str = "30", **options: str
) -> int:
    """Serve until SIGTERM or an interrupt, then finish the requests that have begun.

    This is a server runner of PasteDeploy (``[server:main]``).

    :param drain: the longest time, in seconds, that finishing may take. Requests that still
        run one second later are dropped.
    :param options: as waitress takes them.
    :raises ValueError: if ``drain`` is not a number of seconds.
    :raises OSError: if the address cannot be used. The error names the address.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", drain):
        raise ValueError(f"drain = {drain!r}: seconds such as 30 are allowed")
    options.setdefault("connection_limit", CONNECTION_LIMIT)
    sockets: dict[int, wasyncore.dispatcher] = {}
    try:
        server = create_server(app, map=sockets, **options)
    except OSError as error:
        wasyncore.close_all(sockets)
        names = ("listen", "unix_socket", "host", "port")
        where = " ".join(f"{name} = {options[name]}" for name in names if name in options)
        raise OSError(error.errno, f"{error.strerror}: {where or 'port 8080'}") from None
    limit = server.adj.connection_limit
    _allow_files(limit + _OTHER_FILES)
    stop = threading.Event()
    listeners = [each for each in sockets.values() if isinstance(each, BaseWSGIServer)]
    for each in listeners:
        each.channel_class = _channel_class(stop)
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        server.print_listen("Serving on http://{}:{}")
        while not stop.is_set():
            _close_idle(sockets, limit)
            _turn(sockets)
        known: set[wasyncore.dispatcher] = set()
        while not known.issuperset(sockets.values()):  # a turn accepts one connection
            known.update(sockets.values())
            _turn(sockets, 0)
        for each in listeners:
            wasyncore.dispatcher.close(each)
        _turn(sockets, 0)  # reads what those connections have sent
        log.info("Stopping: requests that have begun are finished, within %s s", drain)
        stopped = time.monotonic()
        while (busy := _busy(sockets, stopped)) and time.monotonic() < stopped + float(drain):
            _turn(sockets)
        log.log(logging.WARNING if busy else logging.INFO, "Stopped: %d requests left", busy)
    except KeyboardInterrupt:
        pass
    finally:
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(sockets)
        signal.signal(signal.SIGTERM, before)
    return 0


def _turn(sockets: dict[int, wasyncore.dispatcher], timeout: float = _TURN) -> None:
    wasyncore.loop(timeout=timeout, map=sockets, use_poll=True, count=1)


def _channel_class(stop: threading.Event) -> type[HTTPChannel]:
    """Connections that end with the answer once the server must stop.

    A proxy reuses its connections at once, so that none of them would ever be idle.
    """

    class Task(WSGITask):  # type: ignore[misc]
        def build_response_header(self) -> bytes:
            if stop.is_set():
                self.request.headers["CONNECTION"] = "close"
            header: bytes = super().build_response_header()
            return header

    class Channel(HTTPChannel):  # type: ignore[misc]
        task_class = Task

    return Channel


def _channels(sockets: dict[int, wasyncore.dispatcher]) -> list[HTTPChannel]:
    return [each for each in list(sockets.values()) if isinstance(each, HTTPChannel)]


def _close_idle(sockets: dict[int, wasyncore.dispatcher], limit: int) -> None:
    """Keep a tenth of the connections free: close those that have been idle longest."""
    too_many = len(sockets) - limit * 9 // 10
    if too_many > 0:
        idle = [
            each
            for each in _channels(sockets)
            if not (each.requests or each.request or each.total_outbufs_len)
        ]
        for each in sorted(idle, key=lambda channel: channel.last_activity)[:too_many]:
            each.will_close = True


def _busy(sockets: dict[int, wasyncore.dispatcher], stopped: float) -> int:
    """On how many connections a request is being received, answered or sent.

    A request that has not arrived :data:`ARRIVAL` seconds after the stop does not count.
    """
    arriving = time.monotonic() < stopped + ARRIVAL
    return sum(
        bool(each.requests or each.total_outbufs_len or (arriving and each.request))
        for each in _channels(sockets)
    )


def _allow_files(needed: int) -> None:
    """Raise this process's limit of open files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < needed:
            log.warning("OpenFiles: the limit is %d, connection_limit needs %d", most, needed)
