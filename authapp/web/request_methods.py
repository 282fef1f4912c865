"""What authapp adds to every request: ``request.validity``, ``request.backend`` and so on."""

from pyramid.config import Configurator
from pyramid.request import Request

from authapp.session.error_codes import ErrorCode
from authapp.session.session import Validity
from authapp.web.backend_client import BackendSession
from authapp.web.events import request_id
from authapp.web.request_session import open_request_session
from authapp.web.session_json import session_options


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
