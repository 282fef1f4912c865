"""CSRF tokens. A token is bound to the session, or to a CSRF cookie if there is no session.

Pyramid decides when a token is checked (``require_csrf``). This module creates and compares the
tokens. This module also checks the ``Origin`` header, which browsers send with every POST, PUT,
PATCH and DELETE. Pyramid's own check of this header has two defects:

- Pyramid does not check requests over http.
- Pyramid raises ``ValueError`` if the header is not a valid URL.
"""

import hmac
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from pyramid.csrf import CookieCSRFStoragePolicy, check_csrf_token
from pyramid.exceptions import BadCSRFToken
from pyramid.interfaces import ICSRFStoragePolicy
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import aslist
from pyramid.util import is_same_domain
from zope.interface import implementer

from authapp.session.cookies import CSRF_COOKIE
from authapp.session.encryption import derive
from authapp.session.session import Session
from authapp.web.caching import keep_out_of_shared_caches
from authapp.web.routes import SIGN_IN, has_matched
from authapp.web.shared_responses import mark


def check_csrf(request: Request) -> None:
    """Check the CSRF token and the origin of a request to one of authapp's own views.

    These views do not use ``require_csrf``, because an application can change Pyramid's defaults
    for ``require_csrf``, such as the name of the form field.

    :raises pyramid.exceptions.BadCSRFToken: if the token is wrong, or if the request comes from
        another site.
    """
    if not _same_origin(request):  # the application may have its own storage policy
        raise BadCSRFToken("sent from another site")
    check_csrf_token(request, "csrf_token", "X-CSRF-Token")


class _CookieCSRF(CookieCSRFStoragePolicy):  # type: ignore[misc]
    """Pyramid's policy for CSRF cookies, but a new token is kept in ``request.authapp``.

    Pyramid's policy keeps a new token in the environ. With pyramid_retry, the next attempt would
    find the token there, as if the browser had sent it, and the response would not set the cookie.
    """

    def new_csrf_token(self, request: Request) -> str:
        token = secrets.token_hex(16)
        request.authapp.new_csrf_cookie = token

        def add_cookie(request: Request, response: Response) -> None:
            mark(request, response)
            self.cookie_profile.set_cookies(response, token)

        request.add_response_callback(add_cookie)
        return token

    def get_csrf_token(self, request: Request) -> str:
        token: str = request.authapp.new_csrf_cookie or super().get_csrf_token(request)
        return token


@implementer(ICSRFStoragePolicy)
class SessionCSRF:
    """The CSRF storage policy for Pyramid, based on the session of the request.

    :param secrets: the first secret creates new tokens. A token that any of the secrets has created
        is accepted.
    :param secure: True if browsers send the CSRF cookie over https only.
    :param samesite: ``SameSite`` of the CSRF cookie. In a frame on a page of another site, browsers
        send only cookies with ``None``.
    """

    def __init__(self, secrets: Sequence[bytes], *, secure: bool, samesite: str) -> None:
        self._keys = [derive(secret, "authapp csrf", 32) for secret in secrets]
        self._anonymous = _CookieCSRF(
            cookie_name=f"__Host-{CSRF_COOKIE}" if secure else CSRF_COOKIE,
            secure=secure,
            httponly=True,
            samesite=samesite,
        )

    def new_csrf_token(self, request: Request) -> str:
        """Return a new CSRF token. If there is a session, return the one token of the session."""
        request.add_response_callback(_keep_private)
        session = _bound_session(request)
        return self._token(0, session) if session else str(self._anonymous.new_csrf_token(request))

    def get_csrf_token(self, request: Request) -> str:
        """Return the CSRF token to put into a form or a header."""
        request.add_response_callback(_keep_private)
        session = _bound_session(request)
        return self._token(0, session) if session else str(self._anonymous.get_csrf_token(request))

    def check_csrf_token(self, request: Request, supplied_token: str) -> bool:
        """Return True if the token of a request is correct and the request comes from this site.

        :param supplied_token: the value of the form field or of the header. A value that is not a
            string, such as an uploaded file, is refused.
        """
        if request.authapp.bearer is not None:
            return True  # no browser adds this header by itself
        if not isinstance(supplied_token, str) or not _same_origin(request):
            return False
        session: Session | None = request.authapp.session
        # The user may open the sign-in form in one tab, and then sign in in another tab. The form
        # still has the token of the CSRF cookie, although its request now has a session. While the
        # backend is down, the button "Sign out" on the sign-in page has the cookie's token too.
        pages = SIGN_IN if request.authapp.identity else (*SIGN_IN, "logout")
        if session is None or has_matched(request, *pages):
            correct: bool = self._anonymous.check_csrf_token(request, supplied_token)
            if correct or session is None:
                return correct
        supplied = supplied_token.encode(errors="replace")
        return any(
            hmac.compare_digest(self._token(number, session).encode(), supplied)
            for number in range(len(self._keys))
        )

    def _token(self, number: int, session: Session) -> str:
        """Return the CSRF token of a session, created with the secret at index ``number``."""
        # hmac.digest is not used, because it releases Python's global lock (GIL). On a busy server,
        # the thread would then wait to get the lock back, once for each form of a page.
        return hmac.new(self._keys[number], session.sid.encode(), "sha256").hexdigest()


def _keep_private(_: Request, response: Response) -> None:
    """Forbid shared caches to store a page with a CSRF token, even if the view allows this.

    This function is a response callback.
    """
    keep_out_of_shared_caches(response)


def _bound_session(request: Request) -> Session | None:
    """Return the session to which the CSRF token of a request is bound.

    While the backend is down, a request may have a session but no signed-in user. Then the token
    on the sign-in page is bound to the CSRF cookie, because the session may end before the user
    sends the form.

    :returns: the session, or None if the token is bound to the CSRF cookie.
    """
    ours = request.authapp
    session: Session | None = ours.session
    return None if has_matched(request, *SIGN_IN) and not ours.identity else session


def _same_origin(request: Request) -> bool:
    """Return True if a request comes from a page of this site or of a trusted origin.

    - A host in ``Origin`` must be the host of this site or of a trusted origin. The scheme is not
      compared, because a server behind a proxy may not know whether the browser has used https.
    - ``Origin: null`` is accepted only with ``Sec-Fetch-Site: same-origin``, which no script can
      forge. A page with ``Referrer-Policy: no-referrer`` sends ``null``, and so does an attacker's
      page in a sandbox.
    - Without ``Origin``, the ``Referer`` header is used.
    - A request without ``Origin`` and ``Referer`` comes from a program, because browsers send at
      least one of them. So it is accepted, unless it has ``Sec-Fetch-Site: cross-site``.
    """
    headers = request.headers
    origin = headers.get("Origin", headers.get("Referer"))
    if origin == "null":
        return bool(headers.get("Sec-Fetch-Site") == "same-origin")
    if origin is None:
        return bool(headers.get("Sec-Fetch-Site") != "cross-site")
    theirs, ours = _host(origin), _host(f"//{request.host}")
    trusted = aslist(request.registry.settings.get("pyramid.csrf_trusted_origins", []))
    return theirs is not None and (
        theirs == ours or any(is_same_domain(theirs, each) for each in trusted)
    )


def _host(url: str) -> str | None:
    """Return the host of a URL with its port, such as ``example.com:8443``.

    A default port is left out.

    :returns: the host. None if the URL has no host or cannot be parsed.
    """
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return None
    return parts.hostname and parts.hostname + port
