"""The account page."""

import json
import time
from datetime import datetime, timezone
from typing import Any

from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.web.responses import backend_unavailable, see_other, sign_in_required
from authapp.web.views.session import renew_now


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="account",
    request_method="GET",
    renderer="authapp:templates/account.jinja2",
)
def account(request: Request) -> dict[str, Any]:
    """Show the signed-in user, the roles, and how long the session is valid.

    :raises pyramid.httpexceptions.HTTPForbidden: if nobody is signed in.
    """
    if request.identity is None:
        raise HTTPForbidden()
    session: Session = request.authapp.session
    return {
        "utc": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc),
        "now": int(time.time()),
        # After a sign-out everywhere, the moment of a new sign-in may be in the future: see
        # Revocation.next_start.
        "began": min(int(session.authenticated_at), session.issued_at),
        "issued_at": session.issued_at,
        "claims": [(name, _shown(value)) for name, value in session.identity.claims.items()],
    }


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="account",
    request_method="POST",
    require_csrf=False,
)
def renew(request: Request) -> Response:
    """Renew the session and show the page again: the button "Renew now" without scripts."""
    code = renew_now(request)
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    if request.identity is None:
        return sign_in_required(request, code)
    return see_other(request.route_path("account"))


def _shown(value: object) -> str:
    """The value of a claim as text: a string as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()
