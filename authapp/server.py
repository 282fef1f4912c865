"""The waitress server with a graceful stop: ``use = egg:authapp#server``.

This server runner solves four problems of waitress:

- At SIGTERM, waitress drops all requests in progress. Their users get no page. If such a request
  renews a session, the new refresh token can be lost. This server finishes these requests.
- When ``connection_limit`` is reached, waitress accepts no further connections, even if all open
  connections are idle. This server closes connections before the limit is reached: first idle ones,
  then those whose request has not arrived completely.
- waitress drops a header whose name contains an underscore, and does not tell the application.
  ``/verify`` must know of such a header, because the proxy that calls it may also send the header
  to an application that reads ``X_User`` as ``X-User``. This server puts the names of such headers
  into ``environ["authapp.underscored"]``.
- waitress does not notice that a client has gone while its request is handled. With this server,
  ``environ["waitress.client_disconnected"]()`` returns True, so that a long wait can end early.
"""

import logging
import os
import re
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
"""The default of ``connection_limit``, for each process. The default of waitress is 100. One nginx
with four workers can keep more than 100 idle connections."""

ARRIVAL = 5.0
"""For this many seconds after SIGTERM, the server waits for the rest of a request that has arrived
in part."""

_CHECK_EVERY = 0.2
"""The longest time in seconds between two checks whether the server must stop."""

_IDLE = 2.0
"""A connection is idle if nothing has happened on it for this many seconds. In a shorter pause, its
next request may be on its way."""

_RELOADER = 5.0
"""The longest time in seconds that this process waits until ``pserve --reload`` ends it."""

_CLOSED = getattr(select, "POLLRDHUP", 0)
"""The event of ``poll`` that says that the client sends no more data. Only Linux has it. On other
systems this is 0: there, ``poll`` reports only that a connection is closed in both directions."""

_OTHER_FILES = 100
"""The number of files that a process may open in addition to the connections of its clients, such
as log files and connections to Redis."""


def serve(
    app: Callable[..., Any], global_config: dict[str, str], *, drain: str = "30", **options: str
) -> int:
    """Serve requests until SIGTERM. Then finish the requests in progress, and return.

    This is a server runner of PasteDeploy (``[server:main]``).

    :param app: the WSGI application.
    :param global_config: the variables from the command line of ``pserve``. For example,
        ``pserve FILE listen=localhost:8080`` replaces the addresses in the file.
    :param drain: for how many seconds at most the server finishes requests. Requests that are
        still not finished one second after that are dropped.
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
            _close_inactive(sockets, limit)
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
        log.log(logging.WARNING if busy else logging.INFO, "Stopped: %d requests unfinished", busy)
    except KeyboardInterrupt:
        pass
    finally:
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(sockets)
        signal.signal(signal.SIGTERM, before)
    return 0


def _end_reloader(problem: CannotListen) -> None:
    """Print the problem. Then end ``pserve --reload`` and this process.

    If ``pserve --reload`` went on, it would try again only when a file changes. But such a change
    does not free the address. The problem is printed first, because ``pserve --reload`` may end
    this process as soon as it is told to end.
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
    """Return a class for connections. When ``stop`` is set, they close after their next response.

    If they stayed open, a proxy would reuse them, and new requests would continue to arrive. The
    class also writes ``authapp.underscored`` into the environ of each request.
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

        def check_client_disconnected(self) -> bool:
            """See ``HTTPChannel``, which does not notice this while it handles a request."""
            poll = select.poll()
            with suppress(ValueError):  # the main thread has just closed the socket
                poll.register(self.socket, _CLOSED)
                if poll.poll(0):
                    self.connected = False
            return not self.connected

    return Channel


def _underscored(head: bytes) -> frozenset[str]:
    """Return the names of the headers with an underscore, as WSGI names (PEP 3333).

    :param head: the request line and the headers, as the client sent them.
    """
    lines = head.split(b"\r\n")[1:] if b"_" in head else []
    names = [name for name, colon, _ in (line.partition(b":") for line in lines) if b"_" in name]
    return frozenset("HTTP_" + name.decode("latin-1").upper().replace("-", "_") for name in names)


def _channels(sockets: dict[int, wasyncore.dispatcher]) -> list[HTTPChannel]:
    return [each for each in list(sockets.values()) if isinstance(each, HTTPChannel)]


def _close_inactive(sockets: dict[int, wasyncore.dispatcher], limit: int) -> None:
    """Close connections, so that at most nine tenths of ``connection_limit`` are open.

    The idle connections are closed first, then connections whose request has not arrived
    completely. Of each kind, the connections that have been inactive longest are closed first. A
    connection whose request is being handled, or whose response is being sent, is never closed.

    :param limit: the value of ``connection_limit``.
    """
    too_many = len(sockets) - limit * 9 // 10
    if too_many > 0:
        idle_since = time.time() - _IDLE
        closable = [
            each for each in _channels(sockets) if not (each.requests or each.total_outbufs_len)
        ]
        closable.sort(
            key=lambda channel: (
                bool(channel.request) or channel.last_activity > idle_since,
                channel.last_activity,
            )
        )
        for each in closable[:too_many]:
            each.will_close = True


def _busy(sockets: dict[int, wasyncore.dispatcher], stopped: float) -> int:
    """Return the number of connections whose requests the server must still finish.

    For :data:`ARRIVAL` seconds after SIGTERM, a request that has arrived only in part also counts.

    :param stopped: the time of the SIGTERM, from ``time.monotonic()``.
    """
    arriving = time.monotonic() < stopped + ARRIVAL
    return sum(
        bool(each.requests or each.total_outbufs_len or (arriving and each.request))
        for each in _channels(sockets)
    )


def _allow_files(needed: int) -> None:
    """Raise the limit of open files of this process to ``needed``.

    If the system does not allow this, raise the limit as far as allowed, and log a warning.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < needed:
            log.warning(
                "OpenFiles: this process may open %d files; connection_limit needs %d", most, needed
            )
