"""The session as JSON, for scripts. Never a token."""

import time
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from authapp.errors import ErrorCode
from authapp.parts import parts_of
from authapp.responses import problem, sign_in_required
from authapp.state import State
from authapp.tween import settle


@view_config(route_name="session", request_method="GET", renderer="json")
def session(request: Request) -> dict[str, Any]:
    """Who is signed in and how long that is valid."""
    request.response.cache_control = "no-store"
    identity, validity, error = request.identity, request.validity, request.session_error
    return {
        "user": identity
        and {"id": identity.id, "email": identity.email, "roles": list(identity.roles)},
        "validity": validity
        and {"valid_until": validity.valid_until, "refresh_until": validity.refresh_until},
        "error": error and error.value,
        "now": int(time.time()),
        "csrf_token": get_csrf_token(request),
    }


@view_config(route_name="session", request_method="POST", renderer="json")
def renew(request: Request) -> dict[str, Any] | Response:
    """Renew now, unless this very request has just done so."""
    state: State = request.authapp
    if state.session is not None and state.usable and state.session is state.opened:
        before = state.session
        settle(request, state, parts_of(request).renewal.renew(before))
        if state.session is before:
            code = ErrorCode.BACKEND_UNAVAILABLE
            return _unavailable(request, code)
    if state.error is ErrorCode.BACKEND_UNAVAILABLE:
        return _unavailable(request, state.error)
    if state.identity is None:
        return sign_in_required(request, state.error)
    answer: dict[str, Any] = session(request)
    return answer


def _unavailable(request: Request, code: ErrorCode) -> Response:
    response = problem(request, 503, code, code.sentence)
    response.headers["Retry-After"] = "1"
    return response
