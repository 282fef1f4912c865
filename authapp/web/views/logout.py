"""Sign-out. It takes effect at once, even if the backend does not answer."""

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
    """Ask for confirmation. Only the form signs the user out, never a link."""
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

    Without a session the CSRF token is not checked, because there is nothing to end.

    :returns: a redirect to the sign-in page.
    :raises pyramid.exceptions.BadCSRFToken: as :func:`authapp.web.csrf.check_csrf`.
    """
    ours: RequestSession = request.authapp
    if ours.session is not None:
        check_csrf(request)
        services, session = services_of(request), ours.session
        everywhere = request.POST.get("everywhere") == "1"
        if everywhere:
            services.revocation.revoke_user(session, time.time())
        forget(request)
        # After the revocation: a renewal that runs meanwhile either sees the revocation, or its
        # successor is found here.
        session = _newest_session(services, session)
        _tell_backend(services, session)
        request.registry.notify(SignedOut(request, session, everywhere))
    response = see_other(request.route_path("login", _query={"reason": SIGNED_OUT}))
    # Clear the browser's cache, so that the back button shows no private page.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _newest_session(services: Services, session: Session) -> Session:
    """The end of the successor chain. The backend still accepts its refresh token."""
    newest = services.successors.newest(session)
    return newest if isinstance(newest, Session) else session


def _tell_backend(services: Services, session: Session) -> None:
    """Ask the backend once to revoke the refresh token.

    A failure is only logged, because the session is already revoked in the store.
    """
    try:
        services.backend.logout(session.tokens)
    except (BackendRejected, BackendUnavailable) as error:
        log.warning("SignedOut: the backend was not told: %s", type(error).__name__)
