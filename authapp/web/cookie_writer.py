"""Writes the session's cookie to the response. No other module of authapp writes this cookie.

A response callback writes the cookie. Pyramid runs response callbacks after all tweens. So each
response can get the cookie, even an error page or a response that another tween has created.
"""

import time
from collections.abc import Collection
from dataclasses import replace

from pyramid.request import Request
from pyramid.response import Response

from authapp.renewal.outcomes import Rejected
from authapp.renewal.revocation import REPLACED
from authapp.renewal.session_index import ListedSession
from authapp.renewal.successors import Known
from authapp.request_log import request_log
from authapp.services import Services, services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session
from authapp.web import host_session
from authapp.web.caching import PRIVATE, keep_private
from authapp.web.idle_activity import last_used, must_record, record_in_index, record_unwritten
from authapp.web.request_session import RequestSession
from authapp.web.responses import set_cookies, vary_by
from authapp.web.shared_responses import drop_cookies_of_others, mark

log = request_log(__name__)


def cookies_for(session: Session, services: Services, names: Collection[str] = ()) -> list[str]:
    """Return the ``Set-Cookie`` values that store a session in the browser.

    :param session: the session to encrypt.
    :param services: the services of the application.
    :param names: the names of the session cookies in the request. The returned values clear those
        cookies of the request that this session does not need.
    :raises SessionTooLarge: if the session does not fit into cookies. The error names the largest
        part of the session.
    """
    lifetime = services.settings.session_limits.cookie_lifetime(session, time.time())
    try:
        return services.cookie.write(services.sealer.seal(session), lifetime, names)
    except SessionTooLarge as error:
        raise SessionTooLarge(f"{error}: {session.largest_part()}") from None


def write_to_response(request: Request, ours: RequestSession) -> None:
    """Ensure that a response callback writes the cookie, if the session changes in this request.

    :param request: the request whose response gets the cookie.
    :param ours: the session of the request, ``request.authapp``.
    """
    if not ours.writes:
        ours.writes = True
        # The callback was added at the beginning of the request, and may have run already. For
        # example, a later callback of the application may sign the user out. So add it again.
        request.add_response_callback(finish_response)


def finish_response(request: Request, response: Response) -> None:
    """Write the cookie if the session changed, and set the caching headers of the response.

    This function is a response callback. ``Cache-Control`` becomes ``private, no-store``:

    - if a cookie is written or cleared,
    - if a user is signed in, and the view has not set ``Cache-Control``.
    """
    ours: RequestSession = request.authapp
    drop_cookies_of_others(request, response)
    if getattr(request, "exception", None) is not None:
        ours.undo_sign_in()  # for example, the transaction of the sign-in could not be committed
    if ours.identity is not None:
        response.headers.setdefault("Cache-Control", PRIVATE)
    vary_by(response, "Cookie")
    if ours.writes:
        services = services_of(request)
        # Without a session, there is something to clear only if the request has session cookies.
        changed = ours.names if ours.session is None else ours.session is not ours.opened
        if changed or must_record(ours, services):
            _write_cookie(request, response)
        else:
            record_unwritten(request, ours, services)
    ours.writes = False


def _write_cookie(request: Request, response: Response) -> None:
    """Write the session's cookie, or clear the cookie if the session has ended."""
    services, ours = services_of(request), request.authapp
    entry, text = None, None
    if (session := ours.session) is not None:
        # Usually one command reads everything that is needed to write or clear the cookie.
        known = services.successors.look_up(session, services.index.key(session))
        text = known.others[0]
        _adopt_changes(ours, session, known, services)
        host_session.end_if_revoked(request, session)
    if ours.session is not None:
        if _is_known(ours, ours.session):
            entry = services.index.find(ours.session, text)
            if _is_older(ours.session, entry):
                return
        ours.session = replace(ours.session, used_at=last_used(ours, ours.session, services))
    cookies = services.cookie.clear(() if _was_replaced(ours, services) else ours.names)
    if ours.session is not None:
        try:
            cookies = cookies_for(ours.session, services, ours.names)
            if ours.before_sign_in is not None:
                ours.sign_in_stands = True
                _revoke_replaced(ours, ours.session, services)
            record_in_index(request, ours.session, entry)
        except SessionTooLarge as error:
            log.error("SessionTooLarge: renewal: %s", error)
    if cookies:
        mark(request, response)
        # The view may have returned the response of a subrequest, which may have a session cookie
        # already. The cookie of this request replaces the cookie of the subrequest.
        present = response.headers.getall("Set-Cookie")
        set_cookies(
            response, [each for each in present if not services.cookie.owns(each)] + cookies
        )
        # A shared cache would send this cookie to other users too.
        keep_private(response)


def _is_known(ours: RequestSession, session: Session) -> bool:
    """Return True if the request's cookies contain this session. Its tokens there may be older."""
    return session.sid in [each.sid for each in (ours.opened, *ours.older) if each is not None]


def _is_older(session: Session, entry: ListedSession | None) -> bool:
    """Return True if the user has just signed in again in this session, in another request.

    The browser then has a newer cookie, with the new time of sign-in. The response to this request
    must not replace the newer cookie.

    :param entry: the entry of the session in the index of sessions, or None.
    """
    signed_in = entry.signed_in if entry else 0
    return session.authenticated_at < signed_in and time.time() < signed_in + REPLACED


def _was_replaced(ours: RequestSession, services: Services) -> bool:
    """Return True if the session ended because a new session replaced it in the same browser.

    The browser then has the cookie of the new session. The response to this request must not clear
    that cookie.
    """
    if ours.session is not None or ours.error is None or ours.opened is None:
        return False
    return services.revocation.replaced(ours.opened)


def _revoke_replaced(ours: RequestSession, session: Session, services: Services) -> None:
    """After a sign-in, revoke the sessions that the browser had before.

    :param session: the new session.
    """
    for each in ours.sessions:
        # Some backends issue one refresh token per user. The earlier and the new session then have
        # the same refresh token. So do not revoke the earlier session: a request that is renewing
        # it would find the revocation, and revoke this refresh token at the backend.
        if each.tokens.refresh != session.tokens.refresh:
            services.revocation.replace(each)


def _adopt_changes(
    ours: RequestSession, session: Session, known: Known, services: Services
) -> None:
    """Change ``ours`` if another request has signed out or renewed the session in the meantime.

    :param session: the current session of ``ours``.
    :param known: what the store knows now about the session.
    """
    if known.revoked:
        ours.end(ErrorCode.SESSION_REVOKED)
        return
    # A session that has just begun has no successor yet. If the store has a successor, the backend
    # has issued the same refresh token twice, and the successor belongs to an earlier session.
    is_new = ours.opened is None or ours.opened.sid != session.sid
    if is_new or known.successor is None:
        return
    newest = services.successors.newest(session)
    if isinstance(newest, Rejected):
        ours.end(newest.code)
    # If the backend does not rotate refresh tokens, ``newest`` may have tokens that this request
    # has already replaced. Then keep this request's tokens, which are newer.
    elif newest.sid == session.sid and newest.tokens not in [each.tokens for each in ours.held]:
        ours.identity = ours.identity and newest.identity
        ours.session = newest
