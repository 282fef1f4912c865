"""The account page, which shows the signed-in user and can renew the session."""

import json
import time
from datetime import datetime, timezone
from typing import Any

from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config

from authapp.session.session import Session
from authapp.settings.settings import settings_of
from authapp.web.responses import see_other, sign_in_required
from authapp.web.views.session import renew_now


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.account",
    request_method="GET",
    renderer="authapp:templates/account.jinja2",
)
def account(request: Request) -> dict[str, Any]:
    """Show the signed-in user, the user's roles, and the times at which the tokens expire.

    :returns: the variables of the template.
    :raises pyramid.httpexceptions.HTTPForbidden: if no user is signed in.
    """
    if request.identity is None:
        raise HTTPForbidden()
    session: Session = request.authapp.session
    return {
        "utc": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc),
        "now": int(time.time()),
        # Show no sign-in time in the future. After a sign-out everywhere, authapp may record such a
        # time for the next sign-in: see Revocation.next_start.
        "began": min(int(session.authenticated_at), session.issued_at),
        "issued_at": session.issued_at,
        "development": settings_of(request.registry).development,
        "claims": [(name, _displayed(value)) for name, value in session.identity.claims.items()],
    }


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.account",
    request_method="POST",
    require_csrf=False,
)
def renew(request: Request) -> Response:
    """Renew the session, and redirect back to the account page.

    The button "Renew now" sends this request if scripts are disabled in the browser.

    :returns: a 303 redirect. If the backend is unavailable, 503. If the session has ended, a
        redirect to the sign-in page, or 401 for a program.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    code = renew_now(request)
    if code is not None or request.identity is None:
        return sign_in_required(request, code)
    return see_other(request.route_path("authapp.account"))


def _displayed(value: object) -> str:
    """Return a claim's value as the page shows it: a string unchanged, any other value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()
