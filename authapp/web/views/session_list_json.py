"""``/sessions``: the list of the user's sessions as JSON, for programs (contract section 10)."""

from typing import Any

from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.web.csrf import check_csrf
from authapp.web.session_list import describe_sessions, end_session


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.sessions",
    request_method="GET",
    renderer="json",
)
def sessions(request: Request) -> dict[str, Any]:
    """Return the sessions of the user: see :func:`authapp.web.session_list.describe_sessions`.

    :raises pyramid.httpexceptions.HTTPForbidden: if no user is signed in.
    """
    if request.identity is None:
        raise HTTPForbidden()
    request.response.cache_control = "no-store"
    return {"sessions": describe_sessions(request)}


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.session_by_id",
    request_method="DELETE",
    require_csrf=False,
)
def end(request: Request) -> Response:
    """End one session of the user: ``DELETE /sessions/<id>``.

    :returns: 204.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    :raises pyramid.httpexceptions.HTTPForbidden: if no user is signed in.
    :raises pyramid.httpexceptions.HTTPNotFound: if the user has no session with this id.
    """
    if request.identity is None:
        raise HTTPForbidden()
    check_csrf(request)
    headers = end_session(request, request.matchdict["id"])
    if headers is None:
        raise HTTPNotFound()
    return Response(status=204, headerlist=headers)
