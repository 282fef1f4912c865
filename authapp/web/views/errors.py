"""Views for errors. A browser gets an HTML page, and a program gets a problem (RFC 9457)."""

from pyramid.config import Configurator
from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.httpexceptions import HTTPServiceUnavailable, HTTPUnauthorized
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, forbidden_view_config, notfound_view_config

from authapp.request_log import request_log
from authapp.session.error_codes import BAD_REQUEST_SENTENCE, RETRY_AFTER, ErrorCode
from authapp.web.backend_client import BackendUnreachable
from authapp.web.responses import backend_unavailable, failure, sign_in_required
from authapp.web.retried_requests import will_be_retried
from authapp.web.routes import NAMESPACE

log = request_log(__name__)

_ = TranslationStringFactory("authapp")

FORBIDDEN = _("You do not have access to this page. Ask your administrator if you need it.")
_NOT_FOUND = _("This page does not exist. Check the address, or go to the start page.")
_OTHER_METHOD = _("This page does not support that kind of request. Go back and try again.")
_UNAVAILABLE = _("This page is not available right now. Try again in a moment.")
STALE_FORM = _("This form is no longer valid. Go back, reload the page, and send it again.")
_BROKEN = _("Something went wrong on our side, and we have logged it. Try again in a moment.")

_SIGN_IN_ROUTES = f"{NAMESPACE}login"
_REFUSED_SIGN_IN = (
    "the application refuses the sign-in (its root factory, or a subscriber of SignedIn)"
)


@forbidden_view_config()
@exception_view_config(HTTPUnauthorized)
def forbidden(error: Response, request: Request) -> Response:
    """Return the response to a request that is not permitted. It depends on the cause:

    - The view has raised a complete response: this response.
    - A user is signed in, but does not have the permission: 403.
    - The application refuses the sign-in page itself: 403, because a redirect would be a loop.
    - The session could not be renewed because the backend is unavailable: 503.
    - No user is signed in: a 303 redirect to the sign-in page, or 401 for a program.
    """
    if _is_complete(error):
        return error
    if request.identity is not None:
        log.info("Forbidden: %s %s", request.method, request.path[:256])
        return failure(request, 403, "Forbidden", FORBIDDEN)
    if request.session_error is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    route = request.matched_route
    if route is not None and route.name.startswith(_SIGN_IN_ROUTES):
        log.warning("Forbidden: %s %s: %s", request.method, request.path[:256], _REFUSED_SIGN_IN)
        return failure(request, 403, "Forbidden", FORBIDDEN)
    return sign_in_required(request, request.session_error)


def _is_complete(error: Response) -> bool:
    """Return True if a response that a view has raised has a body or ``WWW-Authenticate``."""
    return bool(error.body) or "WWW-Authenticate" in error.headers


@exception_view_config(BadCSRFToken)
@exception_view_config(BadCSRFOrigin)
def stale_form(request: Request) -> Response:
    """Return 403 if the CSRF token is missing or wrong, or the request is from another site."""
    has_token = request.headers.get("X-CSRF-Token", "") != "" or (
        _is_readable(request) and request.POST.get("csrf_token", "") != ""
    )
    reason = "token of another session, or sent from another site" if has_token else "no token"
    log.warning("BadCSRFToken: %s %s: %s", request.method, request.path[:256], reason)
    return failure(request, 403, "BadCSRFToken", STALE_FORM)


@exception_view_config(BackendUnreachable)
def backend_unreachable(request: Request) -> Response:
    """Return 503 if a view has called ``request.backend`` and the backend is unavailable."""
    return backend_unavailable(request, RETRY_AFTER)


@notfound_view_config()
def not_found(error: Response, request: Request) -> Response:
    """Return 404, or the view's response if the view has raised a complete response."""
    return error if _is_complete(error) else failure(request, 404, "NotFound", _NOT_FOUND)


def method_not_allowed(request: Request) -> Response:
    """Return 405, with the methods of the route in ``Allow`` (RFC 9110 section 15.5.6)."""
    route = request.matched_route.name
    views = request.registry.introspector.get_category("views")
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
    """Return 503 if a view has raised ``HTTPServiceUnavailable``.

    If the raised response is complete, it is returned unchanged. Otherwise only the number of
    seconds in its ``Retry-After`` header is used.
    """
    if _is_complete(error):
        return error
    wait = error.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdecimal() else RETRY_AFTER
    return failure(request, 503, "Unavailable", _UNAVAILABLE, seconds)


@exception_view_config(Exception, readable=False)
def bad_request(error: Exception, request: Request) -> Response:
    """Return 400 if the request cannot be decoded.

    Examples are a URL that is not UTF-8 and a multipart form without a boundary.
    """
    log.warning("BadRequest: %s", type(error).__name__)
    return failure(request, 400, "BadRequest", BAD_REQUEST_SENTENCE)


class Readable:
    """A view predicate that tests if the path, the query and the form of a request can be decoded.

    If a part of a request cannot be decoded, WebOb raises an error in the code that first reads
    this part. The type of the error varies. The predicate distinguishes errors of the request from
    errors of a view.

    :param wanted: True to match requests that can be decoded, False to match all other requests.
    """

    def __init__(self, wanted: bool, config: Configurator) -> None:
        self._wanted = wanted

    def text(self) -> str:
        """Return the description of the predicate for Pyramid's introspection."""
        return f"readable = {self._wanted}"

    phash = text

    def __call__(self, context: object, request: Request) -> bool:
        """Return True if the predicate matches the request."""
        return _is_readable(request) is self._wanted


def _is_readable(request: Request) -> bool:
    """Return True if the path, the query and the form of a request can be decoded."""
    try:
        request.path, request.GET, request.POST  # noqa: B018 - reading them may raise
    except Exception:
        return False
    return True


def broken(error: Exception, request: Request) -> Response:
    """Return 500 if a view has raised an exception. Only the log contains the traceback."""
    if will_be_retried(request, error):  # then Pyramid discards this response
        log.info("Retried: %s %s: %s", request.method, request.path[:256], type(error).__name__)
    else:
        log.error("InternalError: %s %s", request.method, request.path[:256], exc_info=error)
    return failure(request, 500, "InternalError", _BROKEN)


def includeme(config: Configurator) -> None:
    """Add the view for all other exceptions.

    The response of this view carries the cookie if the session was renewed. Without a response, the
    browser would not receive the renewed session.
    """
    config.add_exception_view(broken, context=Exception)
