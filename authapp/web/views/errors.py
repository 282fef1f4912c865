"""What is answered when a request may not, cannot or must not be."""

import logging

from pyramid.config import Configurator
from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.httpexceptions import HTTPServiceUnavailable, HTTPUnauthorized
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, forbidden_view_config, notfound_view_config

from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.web.backend_client import BackendUnreachable
from authapp.web.responses import backend_unavailable, failure, sign_in_required

log = logging.getLogger(__name__)

_ = TranslationStringFactory("authapp")

_FORBIDDEN = _("You are signed in, but this is not for you. Ask whoever manages your access.")
_NOT_FOUND = _("There is nothing here. Check the address, or go to the start page.")
_UNAVAILABLE = _("This does not work right now. Try again in a moment.")
_STALE_FORM = _("This form is not valid any more. Go back, reload the page, and send it again.")
_BAD_REQUEST = _("The browser sent something that cannot be read. Go back and try again.")
_BROKEN = _("Something went wrong on our side. It has been noted; try again in a moment.")


@forbidden_view_config()
@exception_view_config(HTTPUnauthorized)
def forbidden(error: Response, request: Request) -> Response:
    """Not signed in: sign in. Nobody can say whether: come back. Signed in: not for you."""
    if _is_complete(error):
        return error
    if request.identity is not None:
        log.info("Forbidden: %s %s", request.method, request.path[:256])
        return failure(request, 403, "Forbidden", _FORBIDDEN)
    if request.session_error is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    return sign_in_required(request, request.session_error)


def _is_complete(error: Response) -> bool:
    """Whether a view has raised an answer with a body or a challenge of its own."""
    return bool(error.body) or "WWW-Authenticate" in error.headers


@exception_view_config(BadCSRFToken)
@exception_view_config(BadCSRFOrigin)
def stale_form(request: Request) -> Response:
    """A form from another session, or from another site."""
    came = request.headers.get("X-CSRF-Token", "") != ""
    came = came or (_is_readable(request) and request.POST.get("csrf_token", "") != "")
    why = "it is another session's, or from another site" if came else "none came"
    log.warning("BadCSRFToken: %s %s: %s", request.method, request.path[:256], why)
    return failure(request, 403, "BadCSRFToken", _STALE_FORM)


@exception_view_config(BackendUnreachable)
def backend_unreachable(request: Request) -> Response:
    """A view has called the backend, which does not answer."""
    return backend_unavailable(request, RETRY_AFTER)


@notfound_view_config()
def not_found(error: Response, request: Request) -> Response:
    """No such page."""
    return error if _is_complete(error) else failure(request, 404, "NotFound", _NOT_FOUND)


@exception_view_config(HTTPServiceUnavailable)
def unavailable(error: Response, request: Request) -> Response:
    """A view says that it cannot answer now."""
    if _is_complete(error):
        return error
    wait = error.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdecimal() else RETRY_AFTER
    return failure(request, 503, "Unavailable", _UNAVAILABLE, seconds)


@exception_view_config(Exception, readable=False)
def bad_request(error: Exception, request: Request) -> Response:
    """What came in cannot be read: an address that is no UTF-8, a form without boundaries."""
    log.warning("BadRequest: %s", type(error).__name__)
    return failure(request, 400, "BadRequest", _BAD_REQUEST)


class Readable:
    """View predicate: whether address, query and form can be read, or fail whoever tries.

    WebOb raises many kinds of errors, and does so late, wherever a view first looks.
    """

    def __init__(self, wanted: bool, config: Configurator) -> None:
        self._wanted = wanted

    def text(self) -> str:
        """See Pyramid: how introspection shows it."""
        return f"readable = {self._wanted}"

    phash = text

    def __call__(self, context: object, request: Request) -> bool:
        """Whether that is as wanted."""
        return _is_readable(request) is self._wanted


def _is_readable(request: Request) -> bool:
    try:
        request.path, request.GET, request.POST  # noqa: B018 - to read them is what may fail
    except Exception:
        return False
    return True


def broken(error: Exception, request: Request) -> Response:
    """A view has failed: the log says how, the page does not."""
    log.error("InternalError: %s %s", request.method, request.path[:256], exc_info=error)
    return failure(request, 500, "InternalError", _BROKEN)


def includeme(config: Configurator) -> None:
    """Answer failures with a page: without one, a session just renewed would be lost."""
    config.add_exception_view(broken, context=Exception)
