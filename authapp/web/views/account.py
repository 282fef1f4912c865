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
    """Who is signed in, with which roles and how long."""
    if request.identity is None:
        raise HTTPForbidden()
    session: Session = request.authapp.session
    return {
        "utc": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc),
        "now": int(time.time()),
        # A sign-in after a sign-out everywhere counts from a moment that may be still to come.
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
    """Renew now, and show the page again: "renew now" where no script does it."""
    code = renew_now(request)
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    if request.identity is None:
        return sign_in_required(request, code)
    return see_other(request.route_path("account"))


def _shown(value: object) -> str:
    """A claim as text: JSON, but for a text, which is itself."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()
