"""The session of one request, and the user who is signed in: ``request.authapp``.

- The renewal tween renews the session.
- The security policy and the templates read the session.
- A sign-in replaces the session. A sign-out ends the session.
- :mod:`authapp.web.cookie_writer` writes the session into the cookie.
"""

import time

from pyramid.request import Request

from authapp.backend.observation import Facts
from authapp.renewal.outcomes import Outcome, Rejected, Renewed
from authapp.renewal.successors import Known
from authapp.services import services_of
from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Identity, Phase, Session, Validity
from authapp.web import host_session
from authapp.web.events import RenewalFailed, SessionEnded, SessionRenewed, notify
from authapp.web.retried_requests import once


class RequestSession:
    """The session of one request, ``request.authapp``.

    :ivar names: the names of the session cookies in the request.
    :ivar opened: the session in these cookies, or None.
    :ivar phase: the phase of ``opened`` at the beginning of the request.
    :ivar known: what the store knew about ``opened``. None if ``opened`` was fresh.
    :ivar older: further sessions of the same user in these cookies.
    :ivar session: the current session, or None. If the access token has expired and the backend is
        unavailable, ``session`` is kept, but ``identity`` is None.
    :ivar identity: the signed-in user, or None.
    :ivar error: why no user is signed in. None if a user is signed in, or if there was no session.
    :ivar retry_after: if the backend is unavailable, a client may try again after this many
        seconds.
    :ivar held: ``opened``, and the sessions of all calls of :meth:`use`.
    :ivar writes: True if the response callback may write or clear the cookie. It writes
        ``session`` if this is not ``opened``. If ``session`` is None, it clears the cookie.
    :ivar bearer: the access token that a program has sent in ``Authorization``, or None. With such
        a token, the request has an ``identity`` without a ``session``.
    :ivar renewals: the facts of each renewal in this request: see :func:`renew_session`.
    :ivar by_person: True if the request counts as a use of the session by the user: see
        :mod:`authapp.web.idle_activity`.
    :ivar renewed_elsewhere: True if another request is renewing the session, and this request has
        not waited for the new tokens.
    :ivar before_sign_in: ``session``, ``identity`` and ``error`` as they were before a sign-in in
        this request. None if there was no sign-in.
    :ivar sign_in_stands: True if the cookie of a sign-in was written.
    :ivar new_csrf_cookie: the CSRF token in the CSRF cookie that the response sets. None if the
        response does not set this cookie.
    """

    session: Session | None = None
    identity: Identity | None = None
    phase: Phase | None = None
    known: Known | None = None
    error: ErrorCode | None = None
    retry_after = RETRY_AFTER
    writes = False
    by_person = False
    renewed_elsewhere = False
    bearer: str | None = None
    before_sign_in: tuple[Session | None, Identity | None, ErrorCode | None] | None = None
    sign_in_stands = False
    new_csrf_cookie: str | None = None

    def __init__(
        self, names: tuple[str, ...], opened: Session | None, older: tuple[Session, ...]
    ) -> None:
        self.names, self.opened, self.older = names, opened, older
        self.held = [] if opened is None else [opened]
        self.renewals: list[Facts] = []

    @property
    def sessions(self) -> list[Session]:
        """The sessions that a sign-out in this request revokes.

        These are the sessions in the request's cookies, and the session of a sign-in in this
        request. A session that was renewed is in the list once, with its new tokens.
        """
        return list({each.sid: each for each in (*self.older, *self.held)}.values())

    def use(self, session: Session) -> None:
        """Make a session the current session, and sign its user in."""
        self.held.append(session)
        self.session, self.identity, self.error = session, session.identity, None

    def keep(self, session: Session, error: ErrorCode) -> None:
        """Make a session the current session, but sign no user in.

        The browser keeps the cookie of the session, so a later request can renew the session.

        :param error: why no user is signed in.
        """
        self.session, self.identity, self.error = session, None, error

    def end(self, error: ErrorCode | None) -> None:
        """End the session. The response then clears the session cookies.

        :param error: why the session ended. None for a sign-out.
        """
        self.session, self.identity, self.error = None, None, error

    def undo_sign_in(self) -> None:
        """If a sign-in in this request has failed, restore the session from before the sign-in."""
        if self.before_sign_in is not None:
            self.session, self.identity, self.error = self.before_sign_in
            self.before_sign_in = None

    @property
    def person(self) -> Identity | None:
        """The user whose name a page shows, or None.

        This is the signed-in user. If nobody is signed in because an expired session could not be
        renewed, this is the user of that session.
        """
        kept = self.session.identity if self.session else None
        return self.identity or kept

    @property
    def validity(self) -> Validity | None:
        """The times at which the user's tokens expire, or None if no user is signed in."""
        return self.session.validity if self.session and self.identity else None


def renew_session(
    request: Request, session: Session, known: Known | None = None, *, wait: bool = False
) -> Outcome:
    """Renew a session, update ``request.authapp`` with the outcome, and notify subscribers.

    This function adds the facts of the renewal to ``request.authapp.renewals``:

    - ``outcome``: ``renewed``, ``rejected``, ``unavailable``, or ``deferred``. ``deferred``: the
      access token is valid, and this request continues with it. Another request is renewing the
      session, or the backend cannot renew this session at all.
    - ``joined``: False if this request has called the backend, otherwise True.
    - ``seconds``: how long this function took.

    :param request: the request whose ``request.authapp`` is updated.
    :param session: the session to renew.
    :param known: what the store knows about the session, if it was just read. Otherwise None.
    :param wait: True to wait for a renewal by another request, even if the access token is valid.
    :returns: the outcome.
    """
    services, ours = services_of(request), request.authapp
    renewal = services.renewal_of(session.tokens.issuer)
    facts: Facts = {}
    began = time.perf_counter()
    with services.backend.observer("renewal", facts):
        outcome = once(
            request,
            ("renew", session.sid, session.tokens),
            lambda: renewal.renew(session, known, wait=wait),
        )
        deferred = isinstance(outcome, Renewed) and outcome.session is session
        facts["outcome"] = "deferred" if deferred else type(outcome).__name__.lower()
        facts["joined"] = not outcome.asked
    ours.renewals.append(facts | {"seconds": time.perf_counter() - began})
    match outcome:
        case Renewed(successor, asked):
            ours.use(successor)
            ours.renewed_elsewhere = successor is session and renewal.refreshes(session)
            if asked:
                notify(SessionRenewed(request, successor))
        case Rejected(code, reason, asked):
            ours.end(code)
            host_session.end_if_revoked(request, session)
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
