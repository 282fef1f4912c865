"""The session as JSON, for scripts (contract section 4). It never contains a backend token."""

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
    """Return who is signed in and until when, with a CSRF token."""
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
    """Renew the session now.

    :returns: the same as :func:`session`. If nobody is signed in, a 401 problem. If the backend
        does not answer, a 503 problem.
    """
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
    """Renew the session of a request, unless this request has renewed it already.

    Without a session the CSRF token is not checked. There is nothing to forge, and a script whose
    session has just ended still sends the token of that session. It must learn why it ended.

    :returns: why nobody is signed in, or ``BackendUnavailable`` if the backend did not answer.
        None if the session was renewed, or if there was none.
    :raises pyramid.exceptions.BadCSRFToken: as :func:`authapp.web.csrf.check_csrf`.
    """
    ours: RequestSession = request.authapp
    before = ours.session
    if before is not None:
        check_csrf(request)
        if ours.identity and before is ours.opened:
            outcome = renew_session(request, before, wait=True)
            if isinstance(outcome, Unavailable):
                # The access token may still be valid, but the user asked for a renewal.
                return ErrorCode.BACKEND_UNAVAILABLE
    return ours.error
