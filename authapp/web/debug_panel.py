"""A panel for pyramid_debugtoolbar that shows the session of a request, and its renewals.

``debugtoolbar.includes = authapp.web.debug_panel`` in the ini file adds the panel. No other code
imports this module. The panel shows no token.
"""

import time
from datetime import datetime, timezone
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid_debugtoolbar.panels import DebugPanel

from authapp.services import services_of
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.web.request_session import RequestSession
from authapp.web.routes import path_of

Row = tuple[str, str]
"""One row of the panel: a name and a text."""

_OUTCOMES = {
    "renewed": "renewed the session",
    "deferred": (
        "continued with the access token, because another request is renewing the session, or"
        " because the session cannot be renewed"
    ),
    "rejected": "could not renew the session, which has ended",
    "unavailable": "could not renew the session, because the backend is unavailable",
}

_ASKED = {True: "without a call of the backend of its own", False: "by a call of the backend"}


class SessionPanel(DebugPanel):  # type: ignore[misc]
    """The panel for one request.

    The panel keeps only texts, and no session with its tokens, because the toolbar keeps the panels
    of past requests in memory.
    """

    name = "authapp"
    title = nav_title = "authapp"
    template = "authapp:templates/debug_panel.dbtmako"
    has_content = True

    def __init__(self, request: Request) -> None:
        self._response: Response | None = None
        self.data: dict[str, Any] = {"session": [], "actions": []}
        # The cookie is written after all tweens, by a response callback.
        request.add_finished_callback(self._describe)

    def process_response(self, response: Response) -> None:
        """Keep the response. Its cookies are read at the end of the request."""
        self._response = response

    def _describe(self, request: Request) -> None:
        response, self._response = self._response, None
        ours: RequestSession = request.authapp
        session = ours.session or ours.opened
        self.nav_subtitle = _state(ours)
        self.data["session"] = [("state", _state(ours)), *(_rows(session) if session else ())]
        self.data["actions"] = [*_renewals(request, ours), _cookie(request, response)]


def _state(ours: RequestSession) -> str:
    if ours.session is None:
        return f"signed out: {ours.error.value}" if ours.error else "anonymous"
    return "signed in" if ours.identity else f"kept: {ErrorCode.BACKEND_UNAVAILABLE.value}"


def _rows(session: Session) -> list[Row]:
    """Return the rows about a session. They contain no token."""
    user, validity = session.identity, session.validity
    return [
        ("user", str(user.id)),
        ("name", user.name or ""),
        ("email", user.email or ""),
        ("roles", ", ".join(user.roles)),
        ("scopes", ", ".join(user.scopes)),
        ("claims of the access token", ", ".join(user.claims)),
        ("access token until", _moment(validity.valid_until)),
        ("refresh token until", _moment(validity.refresh_until)),
        ("signed in", _moment(session.authenticated_at)),
        ("session, as in the log", session.digest),
    ]


def _renewals(request: Request, ours: RequestSession) -> list[str]:
    """Return, in words, whether the tween found a session and whether it renewed the session."""
    if services_of(request).excluded(path_of(request.environ)):
        return ["did not renew the session on this path: authapp.refresh.exclude"]
    if ours.phase is None:
        return ["found no session in the cookies"]
    found = f"found a session that is {ours.phase.value}"
    done = [
        f"{_OUTCOMES[str(facts['outcome'])]} ({_ASKED[bool(facts['joined'])]},"
        f" {1000 * float(facts['seconds']):.0f} ms)"
        for facts in ours.renewals
    ]
    return [found, *(done or ["did not renew it"])]


def _cookie(request: Request, response: Response | None) -> str:
    """Return, in words, whether the response writes the session's cookie, or clears it."""
    cookie = services_of(request).cookie
    values = [] if response is None else response.headers.getall("Set-Cookie")
    written = [each.partition("=")[2] for each in values if cookie.owns(each)]
    if not written:
        return "left the cookie as it was"
    return "wrote the cookie" if any(not each.startswith(";") for each in written) else "cleared it"


def _moment(seconds: float) -> str:
    shown = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    away = round(seconds - time.time())
    return f"{shown} ({abs(away)} s {'from now' if away > 0 else 'ago'})"


def includeme(config: Configurator) -> None:
    """Add the panel to the toolbar.

    :param config: the configurator of the toolbar.
    """
    config.add_debugtoolbar_panel(SessionPanel)
