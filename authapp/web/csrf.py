"""CSRF tokens: bound to the session, and before sign-in to a cookie of their own.

Pyramid checks them (``require_csrf``); this says what they are. Beside the token, the
``Origin`` that browsers send with every unsafe request is compared, over http too: here,
as Pyramid's own check fails on an ``Origin`` that is no URL, and is for https only.
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
    """What Pyramid checks before a view, for our own views, which check it themselves.

    An application may have other defaults for its views, and other names for the token.

    :raises pyramid.exceptions.BadCSRFToken: for a wrong token, or a right one from elsewhere.
    """
    check_csrf_token(request, "csrf_token", "X-CSRF-Token")


@implementer(ICSRFStoragePolicy)
class SessionCSRF:
    """CSRF storage policy.

    :param secrets: the newest makes tokens, every one checks them.
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
        """A new token; that of a session changes with the session only."""
        request.add_response_callback(_keep_private)
        session = _session(request)
        return self._token(0, session) if session else str(self._anonymous.new_csrf_token(request))

    def get_csrf_token(self, request: Request) -> str:
        """The token to put into a form or a header."""
        request.add_response_callback(_keep_private)
        session = _session(request)
        return self._token(0, session) if session else str(self._anonymous.get_csrf_token(request))

    def check_csrf_token(self, request: Request, supplied_token: str) -> bool:
        """Whether a token that came in is right, from a page of this site."""
        if not isinstance(supplied_token, str) or not _same_origin(request):
            return False  # a file in its place, or a page of another site
        session = _session(request)
        # The sign-in form may have been opened before somebody signed in in another tab.
        if session is None or _is_at_login(request):
            right: bool = self._anonymous.check_csrf_token(request, supplied_token)
            if right or session is None:
                return right
        supplied = supplied_token.encode(errors="replace")
        return any(
            hmac.compare_digest(self._token(number, session).encode(), supplied)
            for number in range(len(self._keys))
        )

    def _token(self, number: int, session: Session) -> str:
        # hmac.digest gives the interpreter's lock away, and a busy server does not get it back
        # for a while: every form of a page would wait that long.
        return hmac.new(self._keys[number], session.sid.encode(), "sha256").hexdigest()


def _keep_private(request: Request, response: Response) -> None:
    """A page with a token is for one visitor, whatever its view says of shared caches."""
    said = response.headers.get("Cache-Control", "")
    if "no-store" not in said and "private" not in said:
        response.headers["Cache-Control"] = "private, no-store"


def _session(request: Request) -> Session | None:
    """The session a token is bound to.

    The form to sign in again, where a session is kept that signs nobody in, is bound to the
    cookie: that session may be over when it is sent.
    """
    ours = request.authapp
    session: Session | None = ours.session
    return None if _is_at_login(request) and not ours.identity else session


def _is_at_login(request: Request) -> bool:
    route = request.matched_route
    return route is not None and route.name == "login"


def _same_origin(request: Request) -> bool:
    """Whether ``Origin``, or else ``Referer``, is this site's or one that it trusts.

    Whoever sends neither is no browser that could be made to forge something. The scheme is
    not compared: behind a proxy it may be known to the proxy only.
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
    """Host and port of a URL, without a port that goes without saying."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return None
    return parts.hostname and parts.hostname + port
