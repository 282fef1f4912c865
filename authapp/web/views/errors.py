"""Views for errors. A browser gets an HTML page, and a program gets a problem (RFC 9457)."""

from traceback import walk_tb

from pyramid.config import Configurator
from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.httpexceptions import HTTPServiceUnavailable, HTTPUnauthorized
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, forbidden_view_config, notfound_view_config
from webob.request import BaseRequest

from authapp.request_log import request_log
from authapp.session.error_codes import BAD_REQUEST_SENTENCE, RETRY_AFTER, ErrorCode
from authapp.web.request_backend import BackendUnreachable
from authapp.web.responses import FORBIDDEN, failure, sign_in_required
from authapp.web.retried_requests import will_be_retried

log = request_log(__name__)

_ = TranslationStringFactory("authapp")

_NOT_FOUND = _("This page does not exist. Check the address, or go to the start page.")
_OTHER_METHOD = _("This page does not support that kind of request. Go back and try again.")
_NOT_RESPONDING = _("A service that this page needs is not responding. Try again in a moment.")
_PERHAPS_DONE = _(
    "A service that this page needs is not responding. What you just did may have been carried out."
    " Check this before you try again."
)
_UNAVAILABLE = _("This page is not available right now. Try again in a moment.")
STALE_FORM = _("This form is no longer valid. Go back, reload the page, and send it again.")
_BROKEN = _("Something went wrong on our side, and we have logged it. Try again in a moment.")

_PARSES_FORM = BaseRequest.POST.fget.__code__


@forbidden_view_config()
@exception_view_config(HTTPUnauthorized)
def forbidden(error: Response, request: Request) -> Response:
    """Return the response to a request that is not permitted. The first of these cases applies:

    1. The view has raised a response with a body or ``WWW-Authenticate``: this response.
    2. A user is signed in, but does not have the permission: 403.
    3. No user is signed in: the response of :func:`authapp.sign_in_required`.
    """
    if _is_complete(error):
        return error
    if request.identity is not None:
        log.info("Forbidden: %s %s", request.method, request.path[:256])
        return failure(request, 403, "Forbidden", FORBIDDEN)
    return sign_in_required(request, request.authapp.error)


def _is_complete(error: Response) -> bool:
    """Return True if the view has written the response itself: a body or ``WWW-Authenticate``.

    :param error: a response that a view has raised, such as ``HTTPForbidden``.
    """
    return bool(error.body) or "WWW-Authenticate" in error.headers


@exception_view_config(BadCSRFToken)
@exception_view_config(BadCSRFOrigin)
def stale_form(request: Request) -> Response:
    """Return 403: the CSRF token is missing or wrong, or the request comes from another site."""
    reason = "token of another session, or sent from another site"
    if isinstance(request.exception, BadCSRFToken) and not _has_token(request):
        reason = "no token"
    log.warning("BadCSRFToken: %s %s: %s", request.method, request.path[:256], reason)
    return failure(request, 403, "BadCSRFToken", STALE_FORM)


def _has_token(request: Request) -> bool:
    """Return True if a request has a CSRF token.

    The check of the token has already parsed the form, or the form is short. So reading the form
    here takes little time.
    """
    try:
        return bool(request.headers.get("X-CSRF-Token") or request.POST.get("csrf_token"))
    except Exception:  # the request comes from another site, so the check has not read the form
        return False


@exception_view_config(BackendUnreachable)
def backend_unreachable(error: BackendUnreachable, request: Request) -> Response:
    """Return 503: a view has called ``request.backend``, and the backend is unavailable."""
    may_be_done = error.sent and request.method not in ("GET", "HEAD")
    sentence = _PERHAPS_DONE if may_be_done else _NOT_RESPONDING
    return failure(request, 503, ErrorCode.BACKEND_UNAVAILABLE, sentence, RETRY_AFTER)


@notfound_view_config()
def not_found(error: Response, request: Request) -> Response:
    """Return a 404 page. If the view has raised a response with a body, return that response."""
    return error if _is_complete(error) else failure(request, 404, "NotFound", _NOT_FOUND)


def method_not_allowed(request: Request) -> Response:
    """Return 405. The header ``Allow`` names the methods of the route (RFC 9110 section 15.5.6)."""
    route = request.matched_route.name
    views = request.registry.introspector.get_category("views") or ()
    methods: set[str] = set()
    for view in (each["introspectable"] for each in views):
        if view["route_name"] == route:
            given = view["request_methods"] or ()
            methods.update((given,) if isinstance(given, str) else given)
    if "GET" in methods:
        methods.add("HEAD")
    response = failure(request, 405, "MethodNotAllowed", _OTHER_METHOD)
    response.headers["Allow"] = ", ".join(sorted(methods))
    return response


@exception_view_config(HTTPServiceUnavailable)
def unavailable(error: Response, request: Request) -> Response:
    """Return 503, because a view has raised ``HTTPServiceUnavailable``.

    - If the raised response has a body or ``WWW-Authenticate``, it is returned unchanged.
    - Otherwise the response is an error page or a problem. It has the ``Retry-After`` of the raised
      response, or a default if that ``Retry-After`` is missing or is not a number of seconds.
    """
    if _is_complete(error):
        return error
    wait = error.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdecimal() else RETRY_AFTER
    return failure(request, 503, "Unavailable", _UNAVAILABLE, seconds)


@exception_view_config(Exception, authapp_readable=False)
def bad_request(error: Exception, request: Request) -> Response:
    """Return 400: the request cannot be decoded.

    Examples are a URL that is not UTF-8 and a multipart form without a boundary.
    """
    log.warning("BadRequest: %s", type(error).__name__)
    return failure(request, 400, "BadRequest", BAD_REQUEST_SENTENCE)


class Readable:
    """A view predicate for exception views: tests whether the request can be decoded.

    If a part of a request cannot be decoded, WebOb raises different errors when the part is first
    read. With this predicate, these errors cause 400, and errors of a view cause 500.

    The predicate does not read the form, which may have any length. It finds out whether WebOb has
    raised the error while it parsed the form.

    :param wanted: True to match requests that can be decoded. False to match all other requests.
    """

    def __init__(self, wanted: bool, config: Configurator) -> None:
        self._wanted = wanted

    def text(self) -> str:
        """Return a text for Pyramid's introspection, such as ``authapp_readable = True``."""
        return f"authapp_readable = {self._wanted}"

    phash = text

    def __call__(self, context: object, request: Request) -> bool:
        """Return True if the predicate matches the request.

        :param context: the exception.
        """
        is_readable = _is_readable(request) and not _has_parsed_form(context)
        return is_readable is self._wanted


def _is_readable(request: Request) -> bool:
    """Return True if the path and the query of a request can be decoded."""
    try:
        request.path, request.GET  # noqa: B018 - reading them may raise
    except Exception:
        return False
    return True


def _has_parsed_form(error: object) -> bool:
    """Return True if WebOb has raised an error while it parsed the form (``request.POST``)."""
    frames = walk_tb(getattr(error, "__traceback__", None))
    return any(frame.f_code is _PARSES_FORM for frame, _ in frames)


def broken(error: Exception, request: Request) -> Response:
    """Return 500: a view has raised an exception. Only the log contains the traceback."""
    if will_be_retried(request, error):  # then Pyramid discards this response
        log.info("Retried: %s %s: %s", request.method, request.path[:256], type(error).__name__)
    else:
        log.error("InternalError: %s %s", request.method, request.path[:256], exc_info=error)
    return failure(request, 500, "InternalError", _BROKEN)


def includeme(config: Configurator) -> None:
    """Add the view for exceptions that have no view of their own.

    Without this view, there would be no response that can carry the cookie, and the browser would
    not get a session that this request has renewed.
    """
    config.add_exception_view(broken, context=Exception)
