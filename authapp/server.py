"""waitress, which answers what has begun when it is told to stop: ``use = egg:authapp#server``.

waitress itself ends at SIGTERM with whatever it is answering. For an answer to a renewal that
means a refresh token spent for nothing, and for a person a page that is not there.
"""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

log = logging.getLogger(__name__)

_TURN = 0.2
"""Seconds after which the loop looks whether it is to stop."""


def serve(
    app: Callable[..., Any], global_config: dict[str, str], *, drain: str = "30", **options: str
) -> int:
    """Serve until SIGTERM or an interrupt, then finish what has begun.

    A server runner of PasteDeploy (``[server:main]``).

    :param drain: the longest that this may take, in seconds; what still runs a second later
        is left behind.
    :param options: as waitress takes them.
    :raises ValueError: where ``drain`` is no number of seconds.
    :raises OSError: where the address, which it names, cannot be had.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", drain):
        raise ValueError(f"drain = {drain!r}: seconds such as 30 are allowed")
    sockets: dict[int, wasyncore.dispatcher] = {}
    try:
        server = create_server(app, map=sockets, **options)
    except OSError as error:
        wasyncore.close_all(sockets)
        names = ("listen", "unix_socket", "host", "port")
        where = " ".join(f"{name} = {options[name]}" for name in names if name in options)
        raise OSError(error.errno, f"{error.strerror}: {where or 'port 8080'}") from None
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        server.print_listen("Serving on http://{}:{}")
        while not stop.is_set():
            _turn(sockets)
        known: set[wasyncore.dispatcher] = set()
        while not known.issuperset(sockets.values()):  # one connection is let in a turn
            known.update(sockets.values())
            _turn(sockets, 0)
        for each in list(sockets.values()):
            if isinstance(each, BaseWSGIServer):
                wasyncore.dispatcher.close(each)
        _turn(sockets, 0)  # and is heard
        log.info("Stopping: what has begun is finished, within %s s", drain)
        give_up = time.monotonic() + float(drain)
        while (busy := _busy(sockets)) and time.monotonic() < give_up:
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


def _busy(sockets: dict[int, wasyncore.dispatcher]) -> int:
    """On how many connections a request is being read, answered or sent."""
    channels = [each for each in list(sockets.values()) if isinstance(each, HTTPChannel)]
    return sum(bool(each.requests or each.request or each.total_outbufs_len) for each in channels)
