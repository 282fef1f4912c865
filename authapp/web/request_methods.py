"""The attributes that authapp adds to every request, such as ``request.validity``."""

import logging
import time

from pyramid.config import Configurator
from pyramid.request import Request

from authapp.services import Services, services_of
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Phase, Session, Validity
from authapp.web.backend_client import BackendSession
from authapp.web.cookie_writer import finish_response
from authapp.web.events import request_id
from authapp.web.request_session import RequestSession
from authapp.web.session_json import session_options

log = logging.getLogger(__name__)


def open_request_session(request: Request) -> RequestSession:
    """Open the session of a request, without renewing the session: ``request.authapp``.

    The renewal tween does not run for a subrequest, an excluded path or a script. In these cases
    the session is not renewed. If the access token has expired, no user is signed in. A cookie is
    written only if the request signs a user in or out, or if ``request.backend`` renews the
    session.

    :returns: the session of the request. If the cookies contain no session, or the session has
        ended, ``session`` is None in the returned object.
    """
    services = services_of(request)
    request.add_response_callback(finish_response)
    names, session, older = services.cookie_reader.read(request.environ.get("HTTP_COOKIE", ""))
    # The browser may also send cookies that were set for other paths or domains. If such a cookie
    # contains an ended session, use the next session.
    while older and session is not None and _has_ended(session, services):
        session, *rest = older
        older = tuple(rest)
    ours = RequestSession(names, session, older)
    if session is None:
        if ours.names:
            log.info("SessionInvalid: no secret decrypts the session cookie")
            ours.end(ErrorCode.SESSION_INVALID)
        return ours
    services.successors.brought(session)
    ours.phase = phase = session.phase(time.time(), services.settings.refresh_buffer)
    if phase is Phase.FRESH:
        revoked = services.revocation.revoked(session)
    else:
        ours.known = services.successors.look_up(session)
        revoked = ours.known.revoked
    if revoked:
        ours.end(ErrorCode.SESSION_REVOKED)
    elif phase.valid:
        ours.use(session)
    elif phase is Phase.EXPIRED:
        ours.session = session
    else:
        ours.end(ErrorCode.REFRESH_TOKEN_EXPIRED)
    return ours


def _has_ended(session: Session, services: Services) -> bool:
    """Return True if the session has ended or was revoked."""
    phase = session.phase(time.time(), services.settings.refresh_buffer)
    return phase is Phase.ENDED or services.revocation.revoked(session)


def session_error(request: Request) -> ErrorCode | None:
    """Return the error code of the request's session: ``request.session_error``.

    :returns: why no user is signed in. None if a user is signed in or the request has no session.
    """
    error: ErrorCode | None = request.authapp.error
    return error


def validity(request: Request) -> Validity | None:
    """Return the times at which the user's tokens expire: ``request.validity``.

    :returns: the times, or None if no user is signed in.
    """
    found: Validity | None = request.authapp.validity
    return found


def includeme(config: Configurator) -> None:
    """Add the attributes and methods to requests."""
    config.add_request_method(open_request_session, "authapp", reify=True)
    config.add_request_method(BackendSession, "backend", reify=True)
    config.add_request_method(request_id, reify=True)
    config.add_request_method(session_error, property=True)
    config.add_request_method(session_options)
    config.add_request_method(validity, property=True)
