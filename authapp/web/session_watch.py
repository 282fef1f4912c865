"""A route that tells an open page that its session was ended elsewhere, such as in another browser.

The server cannot push this to the page, because under WSGI each open connection would block a
thread. So a visible page requests this route, normally once per second.

Such a request costs little. The process usually knows from notices which sessions were ended, and
does not ask Redis (:meth:`authapp.store.protocol.Store.recall`). The request does not call the
backend, renew the session or write a cookie. The number of requests is limited: see :class:`Turns`.
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
"""The name of the route, without authapp's namespace."""

SOONEST = 1.0
"""The shortest time in seconds until a page may send its next request."""

LATEST = 60.0
"""The longest time in seconds until a page may send its next request."""

MOST = 20
"""The most requests per second that a process wants to get from all pages together. With many
pages, each page waits longer between its requests."""


class Turns:
    """Decides when each page may send its next request, so that requests are spread evenly.

    With at most :data:`MOST` sessions, the pages of each session send one request per second. With
    more sessions, they send fewer requests. A request that comes too early takes no further turn:
    the time of the page's next request stays the same. So the other pages do not wait longer.

    :param clock: a function that returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0.0
        #: Id of a session -> time of its next request. The earliest time is first.
        self._turns: dict[str, float] = {}

    def take(self, who: str) -> float:
        """Return the number of seconds after which the page may send its next request.

        :param who: the id of the page's session.
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


def session_watch_view(turns: Turns) -> Callable[[Request], Response]:
    """Return the view of the route.

    :param turns: decides when each page may ask again. One object serves all requests.
    """

    def session_watch(request: Request) -> Response:
        """Tell a page whether its session was ended elsewhere, and when to ask again.

        :returns: a JSON object with two members:

            - ``ended`` is true if the session was revoked elsewhere. It is false without a session,
              and after a sign-out in the same browser. The tabs of one browser tell each other of
              this sign-out, without the server.
            - ``again`` is the number of seconds until the page may ask again.
        """
        services = services_of(request)
        # ``request.authapp`` is not used, because for a session that is due it asks Redis.
        header = request.environ.get("HTTP_COOKIE", "")
        _, session, older = services.cookie_reader.read(header)
        if session is None:  # a request without a session must not make other pages wait
            return _response(ended=False, again=LATEST)
        ended = all(map(services.revocation.known_ended_elsewhere, (session, *older)))
        return _response(ended=ended, again=round(turns.take(session.sid), 2))

    return session_watch


def _response(**members: Any) -> Response:
    # No renderer is used, because it would open ``request.authapp`` for the template variables.
    response = Response(json_body=members, content_type="application/json")
    response.cache_control, response.vary = "no-store", ("Cookie",)
    return response


def includeme(config: Configurator) -> None:
    """Add the route and its view. With ``authapp.routes.session_ended = none``, add nothing."""
    if add_own_route(config, ROUTE):
        config.add_view(
            session_watch_view(Turns()),
            route_name=NAMESPACE + ROUTE,
            request_method="GET",
            permission=NO_PERMISSION_REQUIRED,
        )
