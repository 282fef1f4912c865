"""``/session``: the session as JSON, for scripts (contract section 4).

The JSON contains no access token and no refresh token.
"""

from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.renewal.outcomes import Unavailable
from authapp.session.error_codes import ErrorCode
from authapp.web.csrf import check_csrf
from authapp.web.request_session import RequestSession, renew_session
from authapp.web.responses import sign_in_problem, unavailable_problem
from authapp.web.session_json import describe


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.session",
    request_method="GET",
    renderer="json",
)
def session(request: Request) -> dict[str, Any]:
    """Return the user, the times at which the user's tokens expire, and a CSRF token."""
    request.response.cache_control = "no-store"
    return {**describe(request), "csrf_token": get_csrf_token(request)}


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.session",
    request_method="POST",
    renderer="json",
    require_csrf=False,
)
def renew(request: Request) -> dict[str, Any] | Response:
    """Renew the session now.

    :returns: the same object as :func:`session`. If no user is signed in, a 401 problem. If the
        backend is unavailable, a 503 problem.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    code = renew_now(request)
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        return unavailable_problem(request, request.authapp.retry_after)
    if request.identity is None:
        return sign_in_problem(request, code)
    description: dict[str, Any] = session(request)
    return description


def renew_now(request: Request) -> ErrorCode | None:
    """Renew the session of a request, unless the tween has renewed it for this request already.

    If the request has no session, the CSRF token is not checked, for two reasons:

    - The request changes nothing, so an attacker gains nothing by forging the request.
    - If the session has just ended, the script still sends the CSRF token of that session. The
      response must say why the session ended, and not that the CSRF token is wrong.

    :returns: None if the session was renewed, or if there was no session. ``BackendUnavailable`` if
        the session was not renewed, but is kept. Otherwise the reason why the session ended.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    ours: RequestSession = request.authapp
    before = ours.session
    if before is not None:
        check_csrf(request)
        if ours.identity and before is ours.opened:
            outcome = renew_session(request, before, wait=True)
            if isinstance(outcome, Unavailable):
                # Report the failure even if the access token is still valid, because the client
                # has requested a renewal.
                return ErrorCode.BACKEND_UNAVAILABLE
    return ours.error
