"""The waitress server with a graceful stop: ``use = egg:authapp#server``.

This server runner solves three problems of waitress:

- At SIGTERM, waitress drops all requests in progress. The user gets no page. If the request renews
  a session, the new refresh token can be lost.
- When ``connection_limit`` is reached, waitress accepts no further connections, even if all open
  connections are idle.
- waitress drops a header whose name contains an underscore, and the application cannot notice this.
  But a proxy may pass such a header on to another server, which may read ``X_User`` as ``X-User``.
  So this server writes the names of these headers into the environ, as ``authapp.underscored``.
"""

import logging
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import hupper
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import WSGITask

from authapp.start_up import CannotListen, OptionError, show_without_traceback

log = logging.getLogger(__name__)

CONNECTION_LIMIT = "1000"
"""The default of ``connection_limit``, for each process. The default of waitress is only 100: the
idle connections of one nginx with four workers can be more."""

ARRIVAL = 5.0
"""Seconds after SIGTERM within which a partly received request must arrive completely."""

_CHECK_EVERY = 0.2
"""The longest time in seconds between two checks whether the server must stop."""

_RELOADER = 5.0
"""Seconds to wait until ``pserve --reload`` ends this process, after this process has asked for
it."""

_OTHER_FILES = 100
"""Open files of a process in addition to its connections: log files, Redis, the backend."""


def serve(
    app: Callable[..., Any], global_config: dict[str, str], *, drain: str = "30", **options: str
) -> int:
    """Serve requests until SIGTERM or an interrupt. Then finish the requests in progress.

    This is a server runner of PasteDeploy (``[server:main]``).

    :param app: the WSGI application.
    :param global_config: the variables of ``pserve``. ``pserve FILE listen=localhost:8080`` has
        precedence over the addresses in the file.
    :param drain: the longest time for finishing requests, in seconds. Requests that are not
        finished one second later are dropped.
    :param options: the options of ``waitress.serve``.
    :returns: 0.
    :raises OptionError: if an option is not known, or its value is not allowed.
    :raises CannotListen: if the address cannot be used. The error names the address.
    """
    show_without_traceback()
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", drain):
        raise OptionError(f"drain = {drain!r}: seconds such as 30 are allowed")
    if "listen" in global_config:
        others = {name: text for name, text in options.items() if name not in ("host", "port")}
        options = {**others, "listen": global_config["listen"]}
    options.setdefault("connection_limit", CONNECTION_LIMIT)
    sockets: dict[int, wasyncore.dispatcher] = {}
    try:
        server = create_server(app, map=sockets, **options)
    except OSError as error:
        wasyncore.close_all(sockets)
        names = ("listen", "unix_socket", "host", "port")
        where = " ".join(f"{name} = {options[name]}" for name in names if name in options)
        problem = CannotListen(error.errno, f"{error.strerror}: {where or 'port 8080'}")
        if hupper.is_active():
            _end_reloader(problem)
        raise problem from None
    except ValueError as error:
        raise OptionError(f"the section of the server in the ini file: {error}") from None
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
            _handle_events(sockets)
        known: set[wasyncore.dispatcher] = set()
        while not known.issuperset(sockets.values()):  # each call accepts one connection
            known.update(sockets.values())
            _handle_events(sockets, 0)
        for each in listeners:
            wasyncore.dispatcher.close(each)
        _handle_events(sockets, 0)  # reads the requests on the accepted connections
        log.info("Stopping: finishing the requests in progress, for at most %s s", drain)
        stopped = time.monotonic()
        while (busy := _busy(sockets, stopped)) and time.monotonic() < stopped + float(drain):
            _handle_events(sockets)
        log.log(logging.WARNING if busy else logging.INFO, "Stopped: %d requests left", busy)
    except KeyboardInterrupt:
        pass
    finally:
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(sockets)
        signal.signal(signal.SIGTERM, before)
    return 0


def _end_reloader(problem: CannotListen) -> None:
    """End ``pserve --reload`` and this process, because a changed file does not free the address.

    The reloader then sends a SIGTERM, which ends this process. Otherwise the reloader would kill
    the process while Python shuts down, before the user can read the problem.
    """
    sys.stderr.write(f"{problem}\n")
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    hupper.get_reloader().graceful_shutdown()
    time.sleep(_RELOADER)


def _handle_events(sockets: dict[int, wasyncore.dispatcher], timeout: float = _CHECK_EVERY) -> None:
    """Wait up to ``timeout`` seconds for events on the sockets, and handle them."""
    wasyncore.loop(timeout=timeout, map=sockets, use_poll=True, count=1)


def _channel_class(stop: threading.Event) -> type[HTTPChannel]:
    """Return a channel class whose connections close after the response once ``stop`` is set.

    Otherwise a proxy would reuse the connections, and new requests would continue to arrive.
    """

    class Parser(HTTPRequestParser):  # type: ignore[misc]
        underscored: frozenset[str] = frozenset()

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            self.underscored = _underscored(header_plus)

    class Task(WSGITask):  # type: ignore[misc]
        def get_environment(self) -> dict[str, Any]:
            environ: dict[str, Any] = super().get_environment()
            environ["authapp.underscored"] = self.request.underscored
            return environ

        def build_response_header(self) -> bytes:
            if stop.is_set():
                self.request.headers["CONNECTION"] = "close"
            header: bytes = super().build_response_header()
            return header

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser
        task_class = Task

    return Channel


def _underscored(head: bytes) -> frozenset[str]:
    """Return the names of the headers that waitress drops, as WSGI names (PEP 3333)."""
    lines = head.split(b"\r\n")[1:] if b"_" in head else []
    names = [name for name, colon, _ in (line.partition(b":") for line in lines) if b"_" in name]
    return frozenset("HTTP_" + name.decode("latin-1").upper().replace("-", "_") for name in names)


def _channels(sockets: dict[int, wasyncore.dispatcher]) -> list[HTTPChannel]:
    return [each for each in list(sockets.values()) if isinstance(each, HTTPChannel)]


def _close_idle(sockets: dict[int, wasyncore.dispatcher], limit: int) -> None:
    """Close the connections that have been idle longest, so that a tenth of ``limit`` is free."""
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
    """Return the number of connections with a request in progress.

    A partly received request is in progress only until :data:`ARRIVAL` seconds after the stop.

    :param stopped: the time of the stop, from ``time.monotonic()``.
    """
    arriving = time.monotonic() < stopped + ARRIVAL
    return sum(
        bool(each.requests or each.total_outbufs_len or (arriving and each.request))
        for each in _channels(sockets)
    )


def _allow_files(needed: int) -> None:
    """Raise the process's limit of open files to ``needed``, or as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < needed:
            log.warning("OpenFiles: the limit is %d, connection_limit needs %d", most, needed)
