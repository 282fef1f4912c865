"""The route that tells a page that its session was ended elsewhere, such as in another browser.

The server cannot push this to the page, because under WSGI each open connection would block a
thread. So a visible page requests this route, normally once in a second. To respond, a process
usually need not ask the store, because it is told of ended sessions: see
:meth:`authapp.store.protocol.Store.recall`. It does not call the backend, write a cookie or renew
the session. The number of these requests is bounded: see :class:`Turns`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from authapp.services import services_of
from authapp.web.routes import NAMESPACE, add_own_route

ROUTE = "session_ended"

SOONEST = 1.0
"""The shortest time in seconds until a page may send the request again."""

LATEST = 60.0
"""The longest time in seconds until a page may send the request again, even with many pages."""

MOST = 20
"""How many of these requests a process handles per second. If there are more pages, they wait for
longer."""


class Turns:
    """Decides when each page may send the request again, and spreads the requests evenly.

    With up to :data:`MOST` browsers for each process, each browser sends one request per second.
    With more browsers, each browser sends fewer requests. A browser that sends requests too early
    gets no further turn, so it cannot make the others wait.

    :param clock: returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0.0
        #: The turns that have not come yet, the next one first.
        self._turns: dict[str, float] = {}

    def take(self, who: str) -> float:
        """Return the seconds until the page that sent a request may send the next one.

        :param who: the id of the session.
        """
        now = self._clock()
        with self._lock:
            while self._turns and next(iter(self._turns.values())) <= now:
                del self._turns[next(iter(self._turns))]
            turn = self._turns.get(who, now)
            if turn <= now + SOONEST:  # a page may be up to a second early
                self._turns.pop(who, None)
                self._last = min(max(now + SOONEST, self._last + 1 / MOST), now + LATEST)
                self._turns[who] = turn = self._last
            return turn - now


class SessionWatch:
    """The view of the route, with the turns of one application."""

    def __init__(self) -> None:
        self._turns = Turns()

    def answer(self, request: Request) -> Response:
        """Return whether the session in the request's cookie was revoked from elsewhere.

        :returns: ``ended`` is True if the session was revoked. It is False after a sign-out in this
            browser, because the tabs of one browser tell each other, and if the request has no
            session. ``again`` is the number of seconds until the page may send the request again.
        """
        services = services_of(request)
        # ``request.authapp`` would look up a session that is due, which costs a command of Redis.
        header = request.environ.get("HTTP_COOKIE", "")
        _, session, older = services.cookie_reader.read(header)
        if session is None:  # a stranger takes no turn from the pages of users
            return _response(ended=False, again=LATEST)
        ended = all(map(services.revocation.known_ended_elsewhere, (session, *older)))
        return _response(ended=ended, again=round(self._turns.take(session.sid), 2))


def _response(**members: Any) -> Response:
    # A renderer would open ``request.authapp`` for its template variables.
    response = Response(json_body=members, content_type="application/json")
    response.cache_control, response.vary = "no-store", ("Cookie",)
    return response


def includeme(config: Configurator) -> None:
    """Add the route and its view, unless the settings leave the route out."""
    if add_own_route(config, ROUTE):
        config.add_view(
            SessionWatch().answer,
            route_name=NAMESPACE + ROUTE,
            request_method="GET",
            permission=NO_PERMISSION_REQUIRED,
        )
