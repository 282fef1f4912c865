"""The sign-out page. A sign-out takes effect at once, even if the backend is unavailable."""

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
"""The template of the page that sends the browser to the provider, which signs the user out too."""


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.logout",
    request_method="GET",
    renderer="authapp:templates/logout.jinja2",
)
def logout_form(request: Request) -> dict[str, Any]:
    """Show the sign-out form. A link to this page signs nobody out, because only the form does.

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
    """Sign the user out. With ``everywhere=1``, end all sessions of the user.

    If the request has no session, the CSRF token is not checked, because there is nothing to end.

    :returns: a 303 redirect to the sign-in page. If an OpenID Connect provider must sign the user
        out too, a page that sends the browser to the provider.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    own: list[tuple[str, str]] = []
    url = None
    if (session := request.authapp.session) is not None:
        check_csrf(request)
        own = sign_out(request, everywhere=request.POST.get("everywhere") == "1")
        # Clear the browser's cache, so that the back button does not show private pages. A request
        # without a session does not clear the cache, because another site may have caused it.
        own.append(("Clear-Site-Data", '"cache"'))
        provider = services_of(request).providers.get(session.tokens.issuer or "")
        url = provider and provider.sign_out_url(request)
    back = request.route_path("authapp.login", _query={"reason": SIGNED_OUT})
    response = lead_on(request, PAGE, url) if url else see_other(back)
    response.headerlist.extend(own)
    return response


def sign_out(request: Request, *, everywhere: bool = False) -> list[tuple[str, str]]:
    """Sign out the user of a request. The request must have a session.

    :param everywhere: True to end all sessions of the user.
    :returns: headers that the response must have, from :func:`pyramid.security.forget`.
    """
    services, session = services_of(request), request.authapp.session
    if everywhere:
        services.revocation.revoke_user(session, time.time())
    headers = list(forget(request))
    # Another request may be renewing the session. That request first stores the successor, and then
    # looks for a revocation. This sign-out first stores the revocation, and then looks for a
    # successor. So at least one of the two finds the entry of the other.
    session = _newest_session(services, session)
    revoke_at_backend(request, session)
    notify(SignedOut(request, session, everywhere))
    return headers


def _newest_session(services: Services, session: Session) -> Session:
    """Return the session with its newest tokens, which another request may have stored."""
    newest = services.successors.newest(session)
    return newest if isinstance(newest, Session) else session
