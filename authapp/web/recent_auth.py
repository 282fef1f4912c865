"""The view option ``recent_auth``: a view that needs a recent sign-in (contract section 10).

Write ``@view_config(recent_auth=300, …)``. If the user signed in more than 300 seconds ago, the
view is not called. A browser is redirected to the sign-in page, and comes back after the sign-in. A
program gets a 401 problem (RFC 9470 section 3).
"""

import re
import time
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response

from authapp.session.error_codes import SIGN_IN_AGAIN_SENTENCE
from authapp.session.session import Session
from authapp.web.redirects import current_page
from authapp.web.responses import lead_htmx, problem, see_other, wants_page

MAX_AGE = "max_age"
"""A query parameter of the sign-in page. If the user signed in more than this many seconds ago, the
page asks the user to sign in again."""

_CLOCKS_DIFFER = 30
"""The provider's clock may differ from the clock of this machine by this many seconds."""

INSUFFICIENT = "insufficient_user_authentication"
"""The error code of RFC 9470 section 3."""

View = Callable[[Any, Request], Response]


def read_max_age(text: object) -> int | None:
    """Read the parameter :data:`MAX_AGE`. A client can send any value.

    :returns: seconds, or None if the value is not a number of at most nine digits.
    """
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,9}", text) else None


def is_recent(request: Request, seconds: int) -> bool:
    """Return True if a user is signed in and has signed in at most ``seconds`` ago.

    If an OpenID Connect provider has signed the user in, the ``auth_time`` of the ID token must be
    recent too (OpenID Connect Core section 2). Without ``auth_time``, the result is False, because
    the user may have signed in at the provider long ago.

    If the user has signed out everywhere, the next sign-in may count as recent for up to a minute
    longer: see :meth:`authapp.renewal.revocation.Revocation.next_start`.
    """
    session: Session | None = request.authapp.session if request.identity is not None else None
    if session is None or time.time() - session.authenticated_at > seconds:
        return False
    if session.tokens.issuer is None:
        return True
    # auth_time is when the user last signed in at the provider.
    asked = (session.tokens.id_claims or {}).get("auth_time")
    return isinstance(asked, int | float) and time.time() - asked <= seconds + _CLOCKS_DIFFER


def recent_auth_view(view: View, info: Any) -> View:
    """Return a view that checks the time of the sign-in, and then calls the given view.

    This function is a view deriver. Pyramid checks the view's permission first.

    :param info: the view's configuration, ``pyramid.interfaces.IViewDeriverInfo``.
    :returns: the new view, or ``view`` itself if it does not have the option ``recent_auth``.
    :raises ValueError: if ``recent_auth`` is not a whole number of seconds, at least 1.
    """
    seconds = info.options.get("recent_auth")
    if seconds is None:
        return view
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
        raise ValueError(f"recent_auth={seconds!r}: whole seconds are allowed, at least 1")

    def view_with_recent_auth(context: Any, request: Request) -> Response:
        if request.identity is None:
            raise HTTPForbidden()
        if not is_recent(request, seconds):
            return sign_in_again(request, seconds)
        return view(context, request)

    return view_with_recent_auth


recent_auth_view.options = ("recent_auth",)  # type: ignore[attr-defined]


def sign_in_again(request: Request, seconds: int) -> Response:
    """Return the response to a request whose user must sign in again.

    :param seconds: the sign-in may be at most this many seconds ago.
    :returns: for a browser that opens a page, a 303 redirect to the sign-in page. For a program, a
        401 problem with the header of RFC 9470. For a request of the library htmx, the problem has
        one more header, with which htmx opens the sign-in page.
    """
    query = {"next": current_page(request), MAX_AGE: str(seconds)}
    login_url = request.route_path("authapp.login", _query=query)
    if wants_page(request):
        return lead_htmx(request, see_other(login_url), login_url)
    response = problem(
        request,
        401,
        INSUFFICIENT,
        SIGN_IN_AGAIN_SENTENCE,
        error=INSUFFICIENT,
        max_age=seconds,
        login_url=login_url,
    )
    response.headers["WWW-Authenticate"] = (
        f'Bearer error="{INSUFFICIENT}",'
        f' error_description="A more recent sign-in is required", max_age="{seconds}"'
    )
    return lead_htmx(request, response, login_url)


def includeme(config: Configurator) -> None:
    """Add the view option ``recent_auth``."""
    config.add_view_deriver(recent_auth_view, name="recent_auth")
