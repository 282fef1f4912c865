"""Access tokens in ``Authorization: Bearer`` (RFC 6750), for programs (contract section 11).

On paths below ``authapp.api_prefixes``, an access token of the backend identifies a user without a
session:

- If the token is valid, ``request.identity`` is the user of the token. The cookie is not read.
- If the token is not valid, the response is 401.
- If there is no token, ``request.identity`` is the user of the session.

On all other paths, and on authapp's own pages, a token in ``Authorization`` is not read.
"""

import re
import time
from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from authapp.backend.protocol import BackendRejected, BackendUnavailable
from authapp.request_log import request_log
from authapp.services import IServices, Services
from authapp.session.error_codes import RETRY_AFTER
from authapp.web.cookie_writer import finish_response
from authapp.web.request_session import RequestSession
from authapp.web.responses import sign_in_problem, unavailable_problem, vary_by
from authapp.web.routes import is_at, path_of

log = request_log(__name__)

MAX_TOKEN = 8192
"""The length of the longest token that is read, in characters."""

_BEARER = re.compile(rf"bearer +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN}}}=*)", re.IGNORECASE)

Handler = Callable[[Request], Response]


def bearer_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return the tween that reads bearer tokens before the renewal tween reads the cookie."""
    services: Services = registry.getUtility(IServices)

    def bearer_tween(request: Request) -> Response:
        if not services.for_programs(path_of(request.environ)) or is_at(request):
            return handler(request)
        authorization: str = request.environ.get("HTTP_AUTHORIZATION", "")
        if authorization[:6].lower() == "bearer":
            response = _authenticate(request, services, authorization) or handler(request)
        else:
            response = handler(request)
        vary_by(response, "Authorization")
        return response

    return bearer_tween


def _authenticate(request: Request, services: Services, authorization: str) -> Response | None:
    """Set the identity of a request from its token.

    :returns: None if the token is valid. Otherwise the response to the request: 401, or 503 if the
        token cannot be verified now.
    """
    match = _BEARER.fullmatch(authorization)
    ours = RequestSession((), None, ())
    request.authapp = ours
    try:
        if match is None:
            raise BackendRejected("not a bearer token")
        accepted = services.settings.edge.bearer_accepted
        ours.identity = services.reader.bearer(match[1], time.time(), accepted)
    except BackendRejected as error:
        log.info("InvalidToken: %s %s: %s", request.method, request.path[:256], error)
        response = sign_in_problem(request, None)
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return response
    except BackendUnavailable as error:
        log.warning("BackendUnavailable: a bearer token: %s", error.reason)
        return unavailable_problem(request, RETRY_AFTER)
    ours.bearer = match[1]
    request.add_response_callback(finish_response)
    return None


def includeme(config: Configurator) -> None:
    """Add the tween outside the renewal tween, and inside the tween for CORS."""
    config.add_tween(
        "authapp.edge.bearer.bearer_tween_factory",
        over=("authapp.web.renewal_tween.renewal_tween_factory", EXCVIEW),
        under="authapp.web.cors.cors_tween_factory",
    )
