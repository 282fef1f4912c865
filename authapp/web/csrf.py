"""CSRF tokens. A token is bound to the session, or to a cookie of its own before sign-in.

Pyramid decides when a token is checked (``require_csrf``). This module makes the tokens and
compares them. It also compares the ``Origin`` header, which browsers send with every unsafe
request. Pyramid's own check of ``Origin`` is not enough: it covers https only, and fails if the
header is not a URL.
"""

import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from pyramid.csrf import CookieCSRFStoragePolicy, check_csrf_token
from pyramid.interfaces import ICSRFStoragePolicy
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import aslist
from pyramid.util import is_same_domain
from zope.interface import implementer

from authapp.session.cookies import CSRF_COOKIE
from authapp.session.encryption import derive
from authapp.session.session import Session


def check_csrf(request: Request) -> None:
    """Check the CSRF token of a request to one of authapp's own views.

    These views do not use Pyramid's check, because an application may have changed its defaults
    and the names of the form field and the header.

    :raises pyramid.exceptions.BadCSRFToken: if the token is wrong, or if the request comes from
        another site.
    """
    check_csrf_token(request, "csrf_token", "X-CSRF-Token")


@implementer(ICSRFStoragePolicy)
class SessionCSRF:
    """Pyramid's CSRF storage policy, based on the session of the request.

    :param secrets: the first one makes tokens. A token made with any of them is accepted.
    :param secure: whether the cookie for visitors who are not signed in is sent over https only.
    """

    def __init__(self, secrets: Sequence[bytes], *, secure: bool) -> None:
        self._keys = [derive(secret, "authapp csrf", 32) for secret in secrets]
        self._anonymous = CookieCSRFStoragePolicy(
            cookie_name=f"__Host-{CSRF_COOKIE}" if secure else CSRF_COOKIE,
            secure=secure,
            httponly=True,
            samesite="Lax",
        )

    def new_csrf_token(self, request: Request) -> str:
        """Return a new token. While there is a session, its token stays the same."""
        request.add_response_callback(_keep_private)
        session = _bound_session(request)
        return self._token(0, session) if session else str(self._anonymous.new_csrf_token(request))

    def get_csrf_token(self, request: Request) -> str:
        """Return the token to put into a form or a header."""
        request.add_response_callback(_keep_private)
        session = _bound_session(request)
        return self._token(0, session) if session else str(self._anonymous.get_csrf_token(request))

    def check_csrf_token(self, request: Request, supplied_token: str) -> bool:
        """Whether the token of a request is correct and the request comes from this site.

        :param supplied_token: the form field or the header. An uploaded file is not a token.
        """
        if not isinstance(supplied_token, str) or not _same_origin(request):
            return False
        session = _bound_session(request)
        # The user may have signed in in another tab after the sign-in form was opened. The form
        # then has the token of the cookie, although there is a session now.
        if session is None or _is_at_login(request):
            correct: bool = self._anonymous.check_csrf_token(request, supplied_token)
            if correct or session is None:
                return correct
        supplied = supplied_token.encode(errors="replace")
        return any(
            hmac.compare_digest(self._token(number, session).encode(), supplied)
            for number in range(len(self._keys))
        )

    def _token(self, number: int, session: Session) -> str:
        # Not hmac.digest: it releases the GIL, and on a busy server a thread waits to get the
        # GIL back. A page would wait once for each of its forms.
        return hmac.new(self._keys[number], session.sid.encode(), "sha256").hexdigest()


def _keep_private(request: Request, response: Response) -> None:
    """Keep a page with a token out of shared caches, even if its view allows them."""
    cache_control = response.headers.get("Cache-Control", "")
    if "no-store" not in cache_control and "private" not in cache_control:
        response.headers["Cache-Control"] = "private, no-store"


def _bound_session(request: Request) -> Session | None:
    """The session that the token of this request is bound to, if any.

    On the sign-in page, a session that is kept but signs nobody in does not count. It may have
    ended by the time the form is sent, so the token of that form is bound to the cookie.
    """
    ours = request.authapp
    session: Session | None = ours.session
    return None if _is_at_login(request) and not ours.identity else session


def _is_at_login(request: Request) -> bool:
    route = request.matched_route
    return route is not None and route.name == "login"


def _same_origin(request: Request) -> bool:
    """Whether ``Origin``, or else ``Referer``, names this site or an origin that it trusts.

    Browsers send at least one of the two with every unsafe request. A request without both is
    therefore accepted, unless it says ``Sec-Fetch-Site: cross-site``. The scheme is not compared,
    because behind a proxy only the proxy may know it.
    """
    headers = request.headers
    origin = headers.get("Origin", headers.get("Referer"))
    if origin is None:
        return bool(headers.get("Sec-Fetch-Site") != "cross-site")
    theirs, ours = _host(origin), _host(f"//{request.host}")
    trusted = aslist(request.registry.settings.get("pyramid.csrf_trusted_origins", []))
    return theirs is not None and (
        theirs == ours or any(is_same_domain(theirs, each) for each in trusted)
    )


def _host(url: str) -> str | None:
    """The host and port of a URL, without a default port. None if it has no host."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return None
    return parts.hostname and parts.hostname + port
