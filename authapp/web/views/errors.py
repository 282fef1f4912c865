"""Error responses: each is a page for a person or a problem for a program."""

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

_FORBIDDEN = _("You do not have access to this page. Ask your administrator if you need it.")
_NOT_FOUND = _("This page does not exist. Check the address, or go to the start page.")
_UNAVAILABLE = _("This page is not available right now. Try again in a moment.")
_STALE_FORM = _("This form is no longer valid. Go back, reload the page, and send it again.")
_BAD_REQUEST = _("We could not read what your browser sent. Go back and try again.")
_BROKEN = _("Something went wrong on our side, and we have logged it. Try again in a moment.")


@forbidden_view_config()
@exception_view_config(HTTPUnauthorized)
def forbidden(error: Response, request: Request) -> Response:
    """Answer a request that needs a signed-in user or a permission.

    - The user is signed in: 403.
    - The session could not be renewed because the backend does not answer: 503.
    - Nobody is signed in: a redirect to the sign-in page, or 401.
    - The view has raised a complete response: that response.
    """
    if _is_complete(error):
        return error
    if request.identity is not None:
        log.info("Forbidden: %s %s", request.method, request.path[:256])
        return failure(request, 403, "Forbidden", _FORBIDDEN)
    if request.session_error is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    return sign_in_required(request, request.session_error)


def _is_complete(error: Response) -> bool:
    """Whether a view has raised a response with its own body or ``WWW-Authenticate`` header."""
    return bool(error.body) or "WWW-Authenticate" in error.headers


@exception_view_config(BadCSRFToken)
@exception_view_config(BadCSRFOrigin)
def stale_form(request: Request) -> Response:
    """Answer a form of another session or from another site with 403."""
    has_token = request.headers.get("X-CSRF-Token", "") != "" or (
        _is_readable(request) and request.POST.get("csrf_token", "") != ""
    )
    reason = "token of another session, or sent from another site" if has_token else "no token"
    log.warning("BadCSRFToken: %s %s: %s", request.method, request.path[:256], reason)
    return failure(request, 403, "BadCSRFToken", _STALE_FORM)


@exception_view_config(BackendUnreachable)
def backend_unreachable(request: Request) -> Response:
    """Answer with 503 if a view has called the backend and the backend does not answer."""
    return backend_unavailable(request, RETRY_AFTER)


@notfound_view_config()
def not_found(error: Response, request: Request) -> Response:
    """Answer with 404, unless the view has raised a complete response."""
    return error if _is_complete(error) else failure(request, 404, "NotFound", _NOT_FOUND)


@exception_view_config(HTTPServiceUnavailable)
def unavailable(error: Response, request: Request) -> Response:
    """Answer with 503 if a view has raised that, with its ``Retry-After`` in seconds."""
    if _is_complete(error):
        return error
    wait = error.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdecimal() else RETRY_AFTER
    return failure(request, 503, "Unavailable", _UNAVAILABLE, seconds)


@exception_view_config(Exception, readable=False)
def bad_request(error: Exception, request: Request) -> Response:
    """Answer with 400 if the request cannot be decoded.

    Examples are a URL that is not UTF-8 and a multipart form without a boundary.
    """
    log.warning("BadRequest: %s", type(error).__name__)
    return failure(request, 400, "BadRequest", _BAD_REQUEST)


class Readable:
    """View predicate: whether the path, the query and the form of a request can be decoded.

    WebOb raises many kinds of errors for those that cannot, and raises them late, in the code
    that first reads them. This predicate tells these errors from those of a view.

    :param wanted: the value that the request must have.
    """

    def __init__(self, wanted: bool, config: Configurator) -> None:
        self._wanted = wanted

    def text(self) -> str:
        """The predicate in Pyramid's introspection."""
        return f"readable = {self._wanted}"

    phash = text

    def __call__(self, context: object, request: Request) -> bool:
        """Whether the request has that value."""
        return _is_readable(request) is self._wanted


def _is_readable(request: Request) -> bool:
    try:
        request.path, request.GET, request.POST  # noqa: B018 - reading them may raise
    except Exception:
        return False
    return True


def broken(error: Exception, request: Request) -> Response:
    """Answer with 500 if a view has failed. The log has the traceback, the page does not."""
    log.error("InternalError: %s %s", request.method, request.path[:256], exc_info=error)
    return failure(request, 500, "InternalError", _BROKEN)


def includeme(config: Configurator) -> None:
    """Add the view for all other exceptions.

    Without a response to an exception, the cookie of a session that was just renewed would be
    lost.
    """
    config.add_exception_view(broken, context=Exception)
