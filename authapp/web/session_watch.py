"""The route that tells a page that its session was ended elsewhere, such as in another browser.

The server cannot push this to the page: under WSGI, each open connection would hold a thread. So a
page that is shown asks, normally once in a second. The answer needs neither the store nor the
backend, because a process is told of ended sessions: see
:meth:`authapp.store.protocol.Store.recall`. The answer writes no cookie and renews nothing. The
number of these requests is bounded: see :class:`Turns`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED

from authapp.session.error_codes import ErrorCode
from authapp.web.routes import NAMESPACE, add_own_route

ROUTE = "session_ended"

SOONEST = 1.0
"""Seconds after which a page may ask again."""

LATEST = 60.0
"""Seconds after which a page may ask again at the latest, however many pages there are."""

MOST = 20
"""The most questions in a second that a process answers before pages have to wait for longer."""


class Turns:
    """When each page may ask again: the questions are spread evenly.

    With up to :data:`MOST` browsers for each process, each one asks once in a second. With more
    browsers, each one asks less often.

    :param clock: returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0.0

    def take(self) -> float:
        """Return the seconds until the turn of the page that asks."""
        now = self._clock()
        with self._lock:
            turn = max(now + SOONEST, self._last + 1 / MOST)
            self._last = min(turn, now + LATEST)
            return self._last - now


class SessionWatch:
    """The view of the route, with the turns of one application."""

    def __init__(self) -> None:
        self._turns = Turns()

    def answer(self, request: Request) -> dict[str, Any]:
        """Return ``ended``: whether the session in the request's cookie was revoked.

        ``again`` is the number of seconds until the page may ask again. A request without a session
        is not "ended": the tabs of one browser tell each other of a sign-out.
        """
        request.response.cache_control = "no-store"
        ended = request.session_error is ErrorCode.SESSION_REVOKED
        return {"ended": ended, "again": round(self._turns.take(), 2)}


def includeme(config: Configurator) -> None:
    """Add the route and its view, unless the settings leave the route out."""
    if add_own_route(config, ROUTE):
        config.add_view(
            SessionWatch().answer,
            route_name=NAMESPACE + ROUTE,
            request_method="GET",
            renderer="json",
            permission=NO_PERMISSION_REQUIRED,
        )
