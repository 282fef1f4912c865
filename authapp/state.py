"""What one request knows of its session: opened once, read by all, written on the way out.

The tween has it renewed, the policy and the templates read it, sign-in and sign-out replace
it through the policy. The cookie is written in one place, by a response callback:
those run after every tween, so that the cookie is set whatever the response is: a page, a
redirect, an error view, the answer of another tween.
"""

import logging
import time
from collections.abc import Collection

from pyramid.request import Request
from pyramid.response import Response

from authapp.cookies import SessionTooLarge
from authapp.errors import RETRY_AFTER, ErrorCode
from authapp.events import RenewalFailed, SessionEnded, SessionRenewed
from authapp.parts import Parts, parts_of
from authapp.responses import vary_by
from authapp.rotation import Outcome, Rejected, Remembered, Renewed
from authapp.session import Identity, Phase, Session, Validity

log = logging.getLogger(__name__)

_FOR_CACHES = ("CDN-Cache-Control", "Surrogate-Control", "Expires")
"""Headers that some caches believe more than Cache-Control (RFC 9213 section 2.2)."""


class State:
    """The session of one request.

    ``opened`` is what its cookies, with these ``names``, held, in which ``phase``, and what
    was ``remembered`` of it then; ``older`` are others of the same user in them. ``session``
    is the one that goes on from here, though it may sign nobody in for now; ``held`` are all
    that did in this request. ``identity`` is who is signed in; ``error`` says why nobody is, if
    anything, and ``retry_after`` in how many seconds that may change. Where it ``writes``, the
    response carries ``session`` if that is not ``opened``; where it ``replaces``, whatever the
    cookies held ends then.
    """

    session: Session | None = None
    identity: Identity | None = None
    phase: Phase | None = None
    remembered: Remembered | None = None
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
        """All that the request has to do with: none goes on where the user signs out."""
        return list({each.sid: each for each in (*self.older, *self.held)}.values())

    def use(self, session: Session) -> None:
        """Somebody is signed in, with this session."""
        self.held.append(session)
        self.session, self.identity, self.error = session, session.identity, None

    def keep(self, session: Session, error: ErrorCode) -> None:
        """The session is kept, but for now it signs nobody in."""
        self.session, self.identity, self.error = session, None, error

    def end(self, error: ErrorCode | None) -> None:
        """There is no session, or not any more."""
        self.session, self.identity, self.error = None, None, error

    @property
    def validity(self) -> Validity | None:
        """Until when the tokens of whoever is signed in hold."""
        return self.session.validity if self.session and self.identity else None


def open_state(request: Request) -> State:
    """Open the session of a request, without renewing it: ``request.authapp``.

    Where there is no tween (a subrequest, an excluded path, a script), this is all that
    happens: an expired access token signs nobody in, and no cookie is touched.
    """
    parts = parts_of(request)
    request.add_response_callback(_on_the_way_out)
    names, session, older = parts.carrier.open(request.environ.get("HTTP_COOKIE", ""))
    # One that is over, left at another path or domain, must not hide the one that stands.
    while older and session is not None and _is_over(session, parts):
        session, *rest = older
        older = tuple(rest)
    state = State(names, session, older)
    if session is None:
        if state.names:
            log.info("SessionInvalid: a session's cookie that no secret of ours opens")
            state.end(ErrorCode.SESSION_INVALID)
        return state
    state.phase = phase = session.phase(time.time(), parts.settings.refresh_buffer)
    if phase is Phase.FRESH:
        ended = parts.revocation.revoked(session)
    else:
        state.remembered = parts.rotation.remembered(session)
        ended = state.remembered.ended
    if ended:
        state.end(ErrorCode.SESSION_REVOKED)
    elif phase.holds:
        state.use(session)
    elif phase is Phase.EXPIRED:
        state.session = session
    else:
        state.end(ErrorCode.REFRESH_TOKEN_EXPIRED)
    return state


def _is_over(session: Session, parts: Parts) -> bool:
    phase = session.phase(time.time(), parts.settings.refresh_buffer)
    return phase is Phase.ENDED or parts.revocation.revoked(session)


def renew_session(
    request: Request, session: Session, remembered: Remembered | None = None, *, wait: bool = False
) -> Outcome:
    """Renew the session of a request. What comes of it holds from here on; subscribers hear of it.

    The parameters are those of :meth:`authapp.renewal.Renewal.renew`.
    """
    parts, state, notify = parts_of(request), request.authapp, request.registry.notify
    outcome = parts.renewal.renew(session, remembered, wait=wait)
    match outcome:
        case Renewed(successor, asked):
            state.use(successor)
            if asked:
                notify(SessionRenewed(request, successor))
        case Rejected(code, reason, asked):
            state.end(code)
            if asked:
                notify(RenewalFailed(request, session, code, reason))
            notify(SessionEnded(request, session, code))
        case _:
            kept, code = outcome.session, ErrorCode.BACKEND_UNAVAILABLE
            if kept.phase(time.time(), parts.settings.refresh_buffer).holds:
                state.use(kept)
            else:
                state.keep(kept, code)
                state.retry_after = outcome.retry_after
            if outcome.asked:
                notify(RenewalFailed(request, kept, code, outcome.reason))
    return outcome


def cookies_for(session: Session, parts: Parts, names: Collection[str] = ()) -> list[str]:
    """``Set-Cookie`` values for a session.

    :param names: the cookies of ours that the request brought.
    :raises SessionTooLarge: when no browser would bring it back; says what takes the room.
    """
    lifetime = max(0, session.validity.refresh_until - int(time.time()))
    try:
        return parts.cookie.write(parts.sealer.seal(session), lifetime, names)
    except SessionTooLarge as error:
        raise SessionTooLarge(f"{error}: {session.largest_part()}") from None


def write_on_the_way_out(request: Request, state: State) -> None:
    """See to it that the response carries what has become of the session."""
    if not state.writes:
        state.writes = True
        # That of the opening may be over: an application's callback can come later.
        request.add_response_callback(_on_the_way_out)


def _on_the_way_out(request: Request, response: Response) -> None:
    """Keep the answer private, and write what has become of the session."""
    state: State = request.authapp
    if state.identity is not None:
        response.headers.setdefault("Cache-Control", "private, no-store")
    vary_by(response, "Cookie")
    if state.writes and (state.session is None or state.session is not state.opened):
        _write(request, response)
    state.writes = False


def _write(request: Request, response: Response) -> None:
    """Write, or clear, the cookie."""
    parts, state = parts_of(request), request.authapp
    if state.session is not None:
        _look_again(state, state.session, parts)
    cookies = parts.cookie.clear(() if _was_replaced(state, parts) else state.names)
    if state.session is not None:
        try:
            cookies = cookies_for(state.session, parts, state.names)
            _end_replaced(state, state.session, parts)
        except SessionTooLarge as error:
            log.error("SessionTooLarge: renewal: %s", error)
    if cookies:
        headers = response.headers
        # A subrequest's response may carry ours already; the outer one decides.
        earlier = [each for each in headers.getall("Set-Cookie") if not parts.cookie.owns(each)]
        headers.pop("Set-Cookie", None)
        for cookie in earlier + cookies:
            headers.add("Set-Cookie", cookie)
        # Whatever the view has said: a cache must not hand this cookie to others.
        headers["Cache-Control"] = "private, no-store"
        for name in _FOR_CACHES:
            headers.pop(name, None)


def _was_replaced(state: State, parts: Parts) -> bool:
    """Whether others have ended the session, and somebody has signed in over it.

    The browser has a new cookie of that name: a late answer must not take that away.
    """
    if state.session is not None or state.error is None or state.opened is None:
        return False
    return parts.revocation.replaced(state.opened)


def _end_replaced(state: State, session: Session, parts: Parts) -> None:
    """Somebody has signed in: what the browser had before goes on nowhere."""
    for each in state.sessions if state.replaces else ():
        # Some backends have one refresh token a user: theirs is the new session's as well.
        if each.tokens.refresh != session.tokens.refresh:
            parts.revocation.replace(each)


def _look_again(state: State, session: Session, parts: Parts) -> None:
    """While this request was under way, others may have signed out, or have renewed again."""
    remembered = parts.rotation.remembered(session)
    if remembered.ended:
        state.end(ErrorCode.SESSION_REVOKED)
        return
    # A new sign-in has no past, even if the backend hands out a token that it gave before.
    goes_on = state.opened is not None and state.opened.sid == session.sid
    if not goes_on or remembered.followed is None:
        return
    newest = parts.rotation.newest(session)
    if isinstance(newest, Rejected):
        state.end(newest.code)
    # A backend that keeps the refresh token has what this request knew under it too.
    elif newest.sid == session.sid and newest.tokens not in [each.tokens for each in state.held]:
        state.identity = state.identity and newest.identity
        state.session = newest
