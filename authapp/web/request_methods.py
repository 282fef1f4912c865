"""What authapp adds to every request: ``request.validity``, ``request.backend`` and so on."""

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
    """Open the session of a request, without renewing it: ``request.authapp``.

    Without the tween (a subrequest, an excluded path, a script) nothing else happens: an expired
    access token signs nobody in, and no cookie is written.
    """
    services = services_of(request)
    request.add_response_callback(finish_response)
    names, session, older = services.cookie_reader.read(request.environ.get("HTTP_COOKIE", ""))
    # An ended session, left at another path or domain, must not hide an active one.
    while older and session is not None and _has_ended(session, services):
        session, *rest = older
        older = tuple(rest)
    ours = RequestSession(names, session, older)
    if session is None:
        if ours.names:
            log.info("SessionInvalid: none of our secrets opens a session's cookie")
            ours.end(ErrorCode.SESSION_INVALID)
        return ours
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
    phase = session.phase(time.time(), services.settings.refresh_buffer)
    return phase is Phase.ENDED or services.revocation.revoked(session)


def session_error(request: Request) -> ErrorCode | None:
    """``request.session_error``: why nobody is signed in, if there is a reason."""
    error: ErrorCode | None = request.authapp.error
    return error


def validity(request: Request) -> Validity | None:
    """``request.validity``: until when the user's tokens are valid, or None."""
    found: Validity | None = request.authapp.validity
    return found


def includeme(config: Configurator) -> None:
    """Add the request methods."""
    config.add_request_method(open_request_session, "authapp", reify=True)
    config.add_request_method(BackendSession, "backend", reify=True)
    config.add_request_method(request_id, reify=True)
    config.add_request_method(session_error, property=True)
    config.add_request_method(session_options)
    config.add_request_method(validity, property=True)
