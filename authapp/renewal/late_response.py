"""Waits for a response to a refresh after its request has been answered.

A backend that hangs may still spend the refresh token and answer later. If nobody took that
response, the new tokens would be lost. So the call goes on in a thread of its own, its lease
stays taken, and the outcome is kept for the next request of the session.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, suppress

from authapp.backend.protocol import BackendDown
from authapp.session.session import TokenPair

ANNOUNCE_AGAIN = 0.5
"""Seconds between two announcements that a response is late."""


def await_late_response(
    late: "Future[TokenPair]",
    *,
    announce: Callable[[float], None],
    use: Callable[["Future[TokenPair]"], None],
    landing: ExitStack,
) -> None:
    """Wait for a late response without blocking the caller, then use it.

    :param late: the response that has not come yet.
    :param announce: tells other requests and processes for so many seconds that it is late.
    :param use: is called with ``late`` when the response has come. It may raise ``BackendDown``.
    :param landing: is closed after that; it gives back the lease and ends the flight. The lease
        lasts until then, even if the backend answers other calls meanwhile: this call may still
        spend the token.
    """

    def announce_until_done() -> None:
        while not late.done():
            announce(3 * ANNOUNCE_AGAIN)
            wait_for([late], ANNOUNCE_AGAIN)

    def take(late: "Future[TokenPair]") -> None:
        with suppress(BackendDown), landing:
            announce(0)
            use(late)

    announce(3 * ANNOUNCE_AGAIN)
    with suppress(RuntimeError):  # no more threads can be started: the lease is still taken
        threading.Thread(target=announce_until_done, daemon=True).start()
    late.add_done_callback(take)
