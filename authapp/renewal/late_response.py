"""Wait for a late response to a refresh, although the browser's request no longer waits for it.

A slow backend may still spend the refresh token and respond late. If no thread received the late
response, the new tokens would be lost. So the call continues in a separate thread, and the lease
is not released. When the response arrives, the outcome is stored for the session's next request.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, suppress

from authapp.backend.protocol import BackendDown
from authapp.session.session import TokenPair

ANNOUNCE_AGAIN = 0.5
"""Seconds between two announcements that the same response is late."""


def await_late_response(
    late: "Future[TokenPair]",
    *,
    announce: Callable[[float], None],
    use: Callable[["Future[TokenPair]"], None],
    landing: ExitStack,
) -> None:
    """Arrange that a late response is used when it arrives. This function does not block.

    :param late: the future of the response.
    :param announce: a function that tells other requests and processes that the response is late.
        Its argument is the number of seconds for which this announcement is valid. 0 ends an
        earlier announcement.
    :param use: a function that is called with ``late`` when the response has arrived or the call
        has failed. It may raise ``BackendDown``.
    :param landing: a stack whose closing releases the lease and ends the single flight. It is
        closed after the call of ``use``. Before the response, the backend may still spend the
        token.
    """

    def announce_until_done() -> None:
        while not late.done():
            announce(3 * ANNOUNCE_AGAIN)
            wait_for([late], ANNOUNCE_AGAIN)

    def use_and_land(late: "Future[TokenPair]") -> None:
        with suppress(BackendDown), landing:
            announce(0)
            use(late)

    announce(3 * ANNOUNCE_AGAIN)
    with suppress(RuntimeError):  # no thread can be started, but the lease still lasts
        threading.Thread(target=announce_until_done, daemon=True).start()
    late.add_done_callback(use_and_land)
