"""Writes the session's cookie to the response. Nothing else in authapp does.

A response callback does it. Pyramid calls it after every tween, so the cookie is set on any
response: a page, a redirect, an error view, the response of another tween.
"""

import logging
import time
from collections.abc import Collection

from pyramid.request import Request
from pyramid.response import Response

from authapp.renewal.outcomes import Rejected
from authapp.services import Services, services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.web.request_session import RequestSession
from authapp.web.responses import vary_by

log = logging.getLogger(__name__)

_CACHE_HEADERS = ("CDN-Cache-Control", "Surrogate-Control", "Expires")
"""Headers that some caches believe more than Cache-Control (RFC 9213 section 2.2)."""


def cookies_for(session: Session, services: Services, names: Collection[str] = ()) -> list[str]:
    """The ``Set-Cookie`` values for a session.

    :param names: the cookies of ours that the request brought.
    :raises SessionTooLarge: if browsers would not store it. The error says what is large.
    """
    lifetime = max(0, session.validity.refresh_until - int(time.time()))
    try:
        return services.cookie.write(services.sealer.seal(session), lifetime, names)
    except SessionTooLarge as error:
        raise SessionTooLarge(f"{error}: {session.largest_part()}") from None


def write_to_response(request: Request, ours: RequestSession) -> None:
    """Make the response carry the session as it is at the end of the request."""
    if not ours.writes:
        ours.writes = True
        # The callback added when the session was opened may have run already: an application's
        # own callback can come later and sign out, say.
        request.add_response_callback(finish_response)


def finish_response(request: Request, response: Response) -> None:
    """Keep the response out of shared caches, and write the cookie if the session changed."""
    ours: RequestSession = request.authapp
    if ours.identity is not None:
        response.headers.setdefault("Cache-Control", "private, no-store")
    vary_by(response, "Cookie")
    if ours.writes and (ours.session is None or ours.session is not ours.opened):
        _write_cookie(request, response)
    ours.writes = False


def _write_cookie(request: Request, response: Response) -> None:
    """Write, or clear, the cookie."""
    services, ours = services_of(request), request.authapp
    if ours.session is not None:
        _check_again(ours, ours.session, services)
    cookies = services.cookie.clear(() if _was_replaced(ours, services) else ours.names)
    if ours.session is not None:
        try:
            cookies = cookies_for(ours.session, services, ours.names)
            _end_replaced(ours, ours.session, services)
        except SessionTooLarge as error:
            log.error("SessionTooLarge: renewal: %s", error)
    if cookies:
        headers = response.headers
        # A subrequest's response may carry our cookie already; the outer response decides.
        others = [each for each in headers.getall("Set-Cookie") if not services.cookie.owns(each)]
        headers.pop("Set-Cookie", None)
        for cookie in others + cookies:
            headers.add("Set-Cookie", cookie)
        # Whatever the view said: a cache must not give this cookie to other visitors.
        headers["Cache-Control"] = "private, no-store"
        for name in _CACHE_HEADERS:
            headers.pop(name, None)


def _was_replaced(ours: RequestSession, services: Services) -> bool:
    """Whether the session ended because the user signed in again with another request.

    The browser then holds the new session's cookie, and this response must not clear it.
    """
    if ours.session is not None or ours.error is None or ours.opened is None:
        return False
    return services.revocation.replaced(ours.opened)


def _end_replaced(ours: RequestSession, session: Session, services: Services) -> None:
    """After a sign-in, end the sessions that the browser had before."""
    for each in ours.sessions if ours.replaces else ():
        # Some backends have one refresh token for each user, which the new session has as well.
        if each.tokens.refresh != session.tokens.refresh:
            services.revocation.replace(each)


def _check_again(ours: RequestSession, session: Session, services: Services) -> None:
    """Look for a sign-out or a further renewal that happened during this request."""
    known = services.successors.look_up(session)
    if known.revoked:
        ours.end(ErrorCode.SESSION_REVOKED)
        return
    # A new sign-in has no predecessors, even if the backend gives out a token for the second time.
    continues = ours.opened is not None and ours.opened.sid == session.sid
    if not continues or known.successor is None:
        return
    newest = services.successors.newest(session)
    if isinstance(newest, Rejected):
        ours.end(newest.code)
    # With a backend that keeps the refresh token, "newest" may be what this request had before.
    elif newest.sid == session.sid and newest.tokens not in [each.tokens for each in ours.held]:
        ours.identity = ours.identity and newest.identity
        ours.session = newest
