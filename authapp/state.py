"""What one request knows of its session: opened once, read by all, written on the way out.

The tween opens and renews it, the policy and the templates read it, sign-in and sign-out
replace it through the policy. The cookie is written in one place, by a response callback:
those run after every tween, so that the cookie is set whatever the response is: a page, a
redirect, an error view, the answer of another tween.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from authapp.cookies import Presented, SessionTooLarge
from authapp.errors import ErrorCode
from authapp.parts import Parts, parts_of
from authapp.responses import vary_by
from authapp.sealing import CannotOpen
from authapp.session import Identity, Phase, Session, Validity

log = logging.getLogger(__name__)


class State:
    """The session of one request.

    ``opened`` is what its cookie held, in which ``phase``; ``session`` what holds now: on the
    way out, the difference is the cookie to write. ``error`` says why nobody is signed in, if
    anything.
    """

    def __init__(self, presented: Presented) -> None:
        self.presented = presented
        self.opened: Session | None = None
        self.session: Session | None = None
        self.phase: Phase | None = None
        self.error: ErrorCode | None = None
        self.retry_after = 1.0
        self.usable = False
        self.written = False

    def use(self, session: Session) -> None:
        """Somebody is signed in, with this session."""
        self.session, self.error, self.usable = session, None, True

    def keep(self, session: Session, error: ErrorCode) -> None:
        """The session is kept, but for now it signs nobody in."""
        self.session, self.error, self.usable = session, error, False

    def end(self, error: ErrorCode | None) -> None:
        """There is no session, or not any more."""
        self.session, self.error, self.usable = None, error, False

    @property
    def identity(self) -> Identity | None:
        """Who is signed in."""
        return self.session.identity if self.session and self.usable else None

    @property
    def validity(self) -> Validity | None:
        """How long that is valid."""
        return self.session.validity if self.session and self.usable else None


def open_state(request: Request) -> State:
    """Open the session of a request, without renewing it: ``request.authapp``.

    Where there is no tween (a subrequest, an excluded path, a script), this is all that
    happens: an expired access token signs nobody in, and no cookie is touched.
    """
    parts = parts_of(request)
    request.add_response_callback(_keep_private)
    state = State(parts.cookie.read(request.environ.get("HTTP_COOKIE", "")))
    if not state.presented.names:
        return state
    session = _open(state.presented.candidates, parts.sealer.open)
    if session is None:
        log.info("SessionInvalid: a session's cookie that no secret of ours opens")
        state.end(ErrorCode.SESSION_INVALID)
        return state
    state.opened = session
    if parts.revocation.revoked(session):
        state.end(ErrorCode.SESSION_REVOKED)
        return state
    state.phase = session.phase(time.time(), parts.settings.refresh_buffer)
    match state.phase:
        case Phase.ENDED:
            state.end(ErrorCode.REFRESH_TOKEN_EXPIRED)
        case Phase.EXPIRED:
            state.session = session
        case _:
            state.use(session)
    return state


def _open(candidates: tuple[str, ...], opener: Any) -> Session | None:
    """The newest session among the texts that may be one.

    Where they belong to different users, somebody planted one of them, and none is used.
    """
    sessions: list[Session] = []
    for candidate in candidates:
        try:
            sessions.append(opener(candidate))
        except CannotOpen:
            continue
    if len({str(session.identity.id) for session in sessions}) != 1:
        return None
    return max(sessions, key=lambda session: session.issued_at)


def cookies_for(session: Session, parts: Parts, names: Iterable[str] = ()) -> list[str]:
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
    if not state.written:
        state.written = True
        request.add_response_callback(_write)


def _write(request: Request, response: Response) -> None:
    """Write, or clear, the cookie if the session has changed."""
    parts, state = parts_of(request), request.authapp
    session = state.session
    if session is not None and session is not state.opened and parts.revocation.revoked(session):
        state.end(ErrorCode.SESSION_REVOKED)  # signed out while this request was under way
        session = None
    names = state.presented.names
    if session is None:
        cookies = parts.cookie.clear(names)
    elif session is not state.opened:
        try:
            cookies = cookies_for(session, parts, names)
        except SessionTooLarge as error:
            log.error("SessionTooLarge: renewal: %s", error)
            cookies = parts.cookie.clear(names)
    else:
        cookies = []
    if cookies:
        headers = response.headers
        # A subrequest's response may carry ours already; the outer one decides.
        earlier = [each for each in headers.getall("Set-Cookie") if not parts.cookie.owns(each)]
        headers.pop("Set-Cookie", None)
        for cookie in earlier + cookies:
            headers.add("Set-Cookie", cookie)
        # Whatever the view has said: a cache must not hand this cookie to others.
        headers["Cache-Control"] = "private, no-store"


def _keep_private(request: Request, response: Response) -> None:
    """Somebody looked who is signed in: for others the answer may be another."""
    if request.authapp.identity is not None and "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-store"
    vary_by(response, "Cookie")
