"""Sign out: here and now, whatever the backend says to it."""

import logging
import time
from typing import Any

from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED, forget
from pyramid.view import view_config

from authapp.backend.protocol import BackendRejected, BackendUnavailable
from authapp.services import Services, services_of
from authapp.session.error_codes import SIGNED_OUT
from authapp.session.session import Session
from authapp.web.csrf import check_csrf
from authapp.web.events import SignedOut
from authapp.web.request_session import RequestSession
from authapp.web.responses import see_other

log = logging.getLogger(__name__)


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="logout",
    request_method="GET",
    renderer="authapp:templates/logout.jinja2",
)
def logout_form(request: Request) -> dict[str, Any]:
    """Ask; a link alone signs nobody out."""
    request.response.cache_control = "no-store"
    return {}


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="logout",
    request_method="POST",
    require_csrf=False,
)
def logout(request: Request) -> Response:
    """End the session, or with ``everywhere=1`` all sessions of the user.

    Without a session there is nothing to forge, and nothing to do.
    """
    ours: RequestSession = request.authapp
    if ours.session is not None:
        check_csrf(request)
        services, session = services_of(request), ours.session
        everywhere = request.POST.get("everywhere") == "1"
        if everywhere:
            services.revocation.revoke_user(session, time.time())
        forget(request)
        session = _newest(services, session)  # only now: a renewal under way sees the revocation
        _tell_backend(services, session)
        request.registry.notify(SignedOut(request, session, everywhere))
    response = see_other(request.route_path("login", _query={"reason": SIGNED_OUT}))
    response.headers["Clear-Site-Data"] = '"cache"'  # the back button shows no private page
    return response


def _newest(services: Services, session: Session) -> Session:
    """The session with the refresh token that is alive at the backend."""
    newest = services.successors.newest(session)
    return newest if isinstance(newest, Session) else session


def _tell_backend(services: Services, session: Session) -> None:
    """Best effort, once: it is signed out here already."""
    try:
        services.backend.logout(session.tokens)
    except (BackendRejected, BackendUnavailable) as error:
        log.warning("SignedOut: the backend was not told: %s", type(error).__name__)
