"""The session of one request, ``request.authapp``: which session it has, and who is signed in.

The tween renews it, the policy and the templates read it, sign-in and sign-out replace it.
:mod:`authapp.web.cookie_writer` writes it to the response.
"""

import time

from pyramid.request import Request

from authapp.renewal.outcomes import Outcome, Rejected, Renewed
from authapp.renewal.successors import Known
from authapp.services import services_of
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Identity, Phase, Session, Validity
from authapp.web.events import RenewalFailed, SessionEnded, SessionRenewed


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
