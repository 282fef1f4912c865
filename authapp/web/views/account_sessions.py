"""The page that lists the user's sessions. The user can end them there."""

from datetime import datetime, timezone
from typing import Any

from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.session.error_codes import SIGNED_OUT
from authapp.web.csrf import check_csrf
from authapp.web.responses import see_other
from authapp.web.session_list import describe_sessions, end_others, end_session


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.account_sessions",
    request_method="GET",
    renderer="authapp:templates/account_sessions.jinja2",
)
def account_sessions(request: Request) -> dict[str, Any]:
    """Show the sessions of the user.

    :returns: the variables of the template.
    :raises pyramid.httpexceptions.HTTPForbidden: if no user is signed in.
    """
    if request.identity is None:
        raise HTTPForbidden()
    return {
        "sessions": describe_sessions(request),
        "utc": lambda seconds: datetime.fromtimestamp(int(seconds), timezone.utc),
    }


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.account_sessions",
    request_method="POST",
    require_csrf=False,
)
def end(request: Request) -> Response:
    """End the session that the field ``id`` names.

    With ``others=1``, end all sessions except the session of this browser. If there is no session
    with this ``id``, do nothing: it may have ended already.

    :returns: a 303 redirect to the page. If the session of this browser was ended, a redirect to
        the sign-in page.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    :raises pyramid.httpexceptions.HTTPForbidden: if no user is signed in.
    """
    if request.identity is None:
        raise HTTPForbidden()
    check_csrf(request)
    headers: list[tuple[str, str]] = []
    if request.POST.get("others") == "1":
        end_others(request)
    else:
        headers = end_session(request, str(request.POST.get("id", ""))) or []
    if request.identity is not None:
        return see_other(request.route_path("authapp.account_sessions"))
    response = see_other(request.route_path("authapp.login", _query={"reason": SIGNED_OUT}))
    response.headerlist.extend(headers)
    return response
