"""Sign-out. A sign-out takes effect at once, even if the backend is unavailable."""

import time
from typing import Any

from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED, forget
from pyramid.view import view_config

from authapp.services import Services, services_of
from authapp.session.error_codes import SIGNED_OUT
from authapp.session.session import Session
from authapp.web.backend_sign_out import revoke_at_backend
from authapp.web.csrf import check_csrf
from authapp.web.events import SignedOut, notify
from authapp.web.redirects import referring_page
from authapp.web.responses import lead_on, see_other

PAGE = "authapp:templates/logout_provider.jinja2"
"""The template of the page that sends the browser on to the provider, to sign the user out
there."""


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.logout",
    request_method="GET",
    renderer="authapp:templates/logout.jinja2",
)
def logout_form(request: Request) -> dict[str, Any]:
    """Show the sign-out form. A link cannot sign the user out, because only POST does.

    :returns: the variables of the template.
    """
    request.response.cache_control = "no-store"
    return {"back": referring_page(request)}


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.logout",
    request_method="POST",
    require_csrf=False,
)
def logout(request: Request) -> Response:
    """Revoke the session. With ``everywhere=1``, revoke all sessions of the user.

    If the request has no session, the CSRF token is not checked, because there is no session to
    revoke.

    :returns: a 303 redirect to the sign-in page.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    own: list[tuple[str, str]] = []
    url = None
    if (session := request.authapp.session) is not None:
        check_csrf(request)
        own = sign_out(request, everywhere=request.POST.get("everywhere") == "1")
        # Clear the browser's cache, so that the back button does not show private pages. Another
        # site can send this request too, but without a session it clears nothing.
        own.append(("Clear-Site-Data", '"cache"'))
        provider = services_of(request).providers.get(session.tokens.issuer or "")
        url = provider and provider.sign_out_url(request)
    back = request.route_path("authapp.login", _query={"reason": SIGNED_OUT})
    response = lead_on(request, PAGE, url) if url else see_other(back)
    response.headerlist.extend(own)
    return response


def sign_out(request: Request, *, everywhere: bool = False) -> list[tuple[str, str]]:
    """Sign the user of a request out. The request must have a session.

    :param everywhere: True to revoke all sessions of the user.
    :returns: headers for the response: see :func:`pyramid.security.forget`.
    """
    services, session = services_of(request), request.authapp.session
    if everywhere:
        services.revocation.revoke_user(session, time.time())
    headers = list(forget(request))
    # Look for a successor after the revocation. A renewal by another request stores its successor
    # first and then looks for a revocation. So either that renewal finds the revocation, or this
    # sign-out finds the successor.
    session = _newest_session(services, session)
    revoke_at_backend(request, session)
    notify(SignedOut(request, session, everywhere))
    return headers


def _newest_session(services: Services, session: Session) -> Session:
    """Return the last session of the successor chain, which has the current refresh token."""
    newest = services.successors.newest(session)
    return newest if isinstance(newest, Session) else session
