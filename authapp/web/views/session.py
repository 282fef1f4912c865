"""The session as JSON, for scripts. Never a token."""

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
from authapp.web.responses import problem, retry_after, sign_in_problem
from authapp.web.session_json import describe


@view_config(
    permission=NO_PERMISSION_REQUIRED, route_name="session", request_method="GET", renderer="json"
)
def session(request: Request) -> dict[str, Any]:
    """Who is signed in and how long that is valid."""
    request.response.cache_control = "no-store"
    return {**describe(request), "csrf_token": get_csrf_token(request)}


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="session",
    request_method="POST",
    renderer="json",
    require_csrf=False,
)
def renew(request: Request) -> dict[str, Any] | Response:
    """Renew now."""
    code = renew_now(request)
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        response = problem(request, 503, code, code.sentence)
        response.headers["Retry-After"] = retry_after(request.authapp.retry_after)
        return response
    if request.identity is None:
        return sign_in_problem(request, code)
    answer: dict[str, Any] = session(request)
    return answer


def renew_now(request: Request) -> ErrorCode | None:
    """Renew the session of a request, unless this very request has just done so.

    Without a session there is nothing to forge, and the answer says why there is none: the
    token that a script has is that of a session which may have ended a moment ago.

    :returns: why there is no session, or none that was renewed.
    :raises pyramid.exceptions.BadCSRFToken: as :func:`authapp.web.csrf.check_csrf`.
    """
    ours: RequestSession = request.authapp
    before = ours.session
    if before is not None:
        check_csrf(request)
        if ours.identity and before is ours.opened:
            outcome = renew_session(request, before, wait=True)
            if isinstance(outcome, Unavailable):  # it may still hold; that was not the question
                return ErrorCode.BACKEND_UNAVAILABLE
    return ours.error
