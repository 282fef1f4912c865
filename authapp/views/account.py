"""The account page."""

from datetime import datetime, timezone
from typing import Any

from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.view import view_config


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
    return {"utc": lambda seconds: datetime.fromtimestamp(seconds, timezone.utc)}
