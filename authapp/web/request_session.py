"""The session of one request: opened once, read by all, written to the response.

The tween renews it, the policy and the templates read it, sign-in and sign-out replace it. The
cookie is written in one place, a response callback. Pyramid calls it after every tween, so the
cookie is set on any response: a page, a redirect, an error view, another tween's answer.
"""

import logging
import time
from collections.abc import Collection

from pyramid.request import Request
from pyramid.response import Response

from authapp.renewal.outcomes import Outcome, Rejected, Renewed
from authapp.renewal.successors import Known
from authapp.services import Services, services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Identity, Phase, Session, Validity
from authapp.web.events import RenewalFailed, SessionEnded, SessionRenewed
from authapp.web.responses import vary_by

log = logging.getLogger(__name__)

_CACHE_HEADERS = ("CDN-Cache-Control", "Surrogate-Control", "Expires")
"""Headers that some caches believe more than Cache-Control (RFC 9213 section 2.2)."""


class RequestSession:
    """The session of one request.

    :ivar names: the cookies of ours that the request brought.
    :ivar opened: the session in them, if any, which was in ``phase``.
    :ivar known: what the store knew of it then.
    :ivar older: further sessions of the same user in those cookies.
    :ivar session: the session that continues; it may sign nobody in for now.
    :ivar identity: the user who is signed in, if any.
    :ivar error: why nobody is signed in, if there is a reason.
    :ivar retry_after: seconds after which that may change.
    :ivar held: all sessions that this request has had.
    :ivar writes: whether the response gets the cookie of ``session`` if that is not ``opened``.
    :ivar replaces: whether the sessions in the request's cookies end then: a new sign-in.
    """

    session: Session | None = None
    identity: Identity | None = None
    phase: Phase | None = None
    known: Known | None = None
    error: ErrorCode | None = None
    retry_after = RETRY_AFTER
    writes = False
    replaces = False

    def __init__(
        self, names: tuple[str, ...], opened: Session | None, older: tuple[Session, ...]
    ) -> None:
        self.names, self.opened, self.older = names, opened, older
        self.held = [] if opened is None else [opened]

    @property
    def sessions(self) -> list[Session]:
        """All sessions of this request, one for each id. A sign-out ends every one of them."""
        return list({each.sid: each for each in (*self.older, *self.held)}.values())

    def use(self, session: Session) -> None:
        """Sign the user in with this session."""
        self.held.append(session)
        self.session, self.identity, self.error = session, session.identity, None

    def keep(self, session: Session, error: ErrorCode) -> None:
        """Keep the session, but sign nobody in with it for now."""
        self.session, self.identity, self.error = session, None, error

    def end(self, error: ErrorCode | None) -> None:
        """End the session."""
        self.session, self.identity, self.error = None, None, error

    @property
    def validity(self) -> Validity | None:
        """Until when the tokens of the signed-in user are valid."""
        return self.session.validity if self.session and self.identity else None


def open_request_session(request: Request) -> RequestSession:
    """Open the session of a request, without renewing it: ``request.authapp``.

    Without the tween (a subrequest, an excluded path, a script) nothing else happens: an expired
    access token signs nobody in, and no cookie is written.
    """
    services = services_of(request)
    request.add_response_callback(_finish)
    names, session, older = services.cookie_reader.read(request.environ.get("HTTP_COOKIE", ""))
    # An ended session, left at another path or domain, must not hide an active one.
    while older and session is not None and _has_ended(session, services):
        session, *rest = older
        older = tuple(rest)
    ours = RequestSession(names, session, older)
    if session is None:
        if ours.names:
            log.info("SessionInvalid: none of our secrets opens a session's cookie")
            ours.end(ErrorCode.SESSION_INVALID)
        return ours
    ours.phase = phase = session.phase(time.time(), services.settings.refresh_buffer)
    if phase is Phase.FRESH:
        revoked = services.revocation.revoked(session)
    else:
        ours.known = services.successors.look_up(session)
        revoked = ours.known.revoked
    if revoked:
        ours.end(ErrorCode.SESSION_REVOKED)
    elif phase.valid:
        ours.use(session)
    elif phase is Phase.EXPIRED:
        ours.session = session
    else:
        ours.end(ErrorCode.REFRESH_TOKEN_EXPIRED)
    return ours


def _has_ended(session: Session, services: Services) -> bool:
    phase = session.phase(time.time(), services.settings.refresh_buffer)
    return phase is Phase.ENDED or services.revocation.revoked(session)


def renew_session(
    request: Request, session: Session, known: Known | None = None, *, wait: bool = False
) -> Outcome:
    """Renew the session of a request, use the outcome from here on, and notify subscribers.

    The parameters are those of :meth:`authapp.renewal.renewal.Renewal.renew`.
    """
    services, ours, notify = services_of(request), request.authapp, request.registry.notify
    outcome = services.renewal.renew(session, known, wait=wait)
    match outcome:
        case Renewed(successor, asked):
            ours.use(successor)
            if asked:
                notify(SessionRenewed(request, successor))
        case Rejected(code, reason, asked):
            ours.end(code)
            if asked:
                notify(RenewalFailed(request, session, code, reason))
            notify(SessionEnded(request, session, code))
        case _:
            kept, code = outcome.session, ErrorCode.BACKEND_UNAVAILABLE
            if kept.phase(time.time(), services.settings.refresh_buffer).valid:
                ours.use(kept)
            else:
                ours.keep(kept, code)
                ours.retry_after = outcome.retry_after
            if outcome.asked:
                notify(RenewalFailed(request, kept, code, outcome.reason))
    return outcome


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
        request.add_response_callback(_finish)


def _finish(request: Request, response: Response) -> None:
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
