"""Signs users in: calls the backend, counts failed attempts, and starts the session."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pyramid.i18n import TranslationString
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import remember

from authapp.backend.protocol import (
    AccountIncomplete,
    AccountLocked,
    BackendChallenge,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    CallNotPermitted,
    ConnectionFailed,
    UnexpectedAnswer,
)
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import NOT_AVAILABLE_SENTENCE, RETRY_AFTER, ErrorCode
from authapp.session.session import Session, TokenPair
from authapp.web.backend_sign_out import revoke_at_backend
from authapp.web.begin_session import Choices, begin_session
from authapp.web.client_address import client_address
from authapp.web.cookie_writer import cookies_for
from authapp.web.events import SignedIn, SignedOut, SignInFailed, notify
from authapp.web.request_session import RequestSession
from authapp.web.responses import retry_after
from authapp.web.retried_requests import once, will_be_retried
from authapp.web.security_policy import policy_replaced

log = request_log(__name__)

_STATUS = {
    ErrorCode.INVALID_CREDENTIALS: 401,
    ErrorCode.TOO_MANY_ATTEMPTS: 429,
    ErrorCode.ACCOUNT_LOCKED: 403,
    ErrorCode.ACCOUNT_INCOMPLETE: 403,
    ErrorCode.BACKEND_UNAVAILABLE: 503,
    ErrorCode.SIGN_IN_EXPIRED: 400,
    ErrorCode.SIGN_IN_INCOMPLETE: 403,
}

_ENDED_MEANWHILE = "the provider has ended this session meanwhile"


class SignInRefused(Exception):
    """A sign-in failed.

    :ivar code: why the sign-in failed.
    :ivar retry_after: the user may try again after this many seconds. None: at once.
    :ivar reason: details for the log, without secrets.
    :ivar sentence: authapp's sentence for the user.
    :ivar words: what the backend wants to tell the user, in its own words. It may be empty.
    """

    def __init__(
        self,
        code: ErrorCode,
        retry_after: float | None = None,
        reason: str = "",
        *,
        words: str = "",
        sentence: TranslationString | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after
        self.reason = reason
        self.words = words
        self.sentence = sentence or code.sentence


def sign_in(
    request: Request,
    name: str,
    ask_backend: Callable[[], TokenPair],
    choices: Choices,
    counted: str | None = None,
) -> Session:
    """Sign in a user.

    If the sign-in fails, this function sends the event :class:`SignInFailed`, and sets the status
    of ``request.response``.

    :param name: the user name, as typed. It is empty if a provider signs the user in.
    :param ask_backend: a function that calls the backend and returns the tokens.
    :param choices: what the sign-in form says about the session.
    :param counted: failed attempts are counted under this name. With None, under ``name``.
    :returns: the new session. A response callback writes the cookie of this session.
    :raises SignInRefused: if the sign-in fails. Its ``code`` gives the reason.
    :raises BackendChallenge: if the backend asks for a second step.
    :raises Exception: see :func:`complete_sign_in`.
    """
    counted = name if counted is None else counted
    ask = partial(_outcome, request, name, ask_backend, choices, counted)
    outcome = once(request, ("sign in", name), ask)
    if isinstance(outcome, SignInRefused):
        notify(SignInFailed(request, name, outcome.code, outcome.reason))
        request.response.status = _STATUS[outcome.code]
        if outcome.retry_after is not None:
            request.response.headers["Retry-After"] = retry_after(outcome.retry_after)
    if isinstance(outcome, Exception):
        raise outcome
    complete_sign_in(request, outcome)
    return outcome


def _outcome(
    request: Request,
    name: str,
    ask_backend: Callable[[], TokenPair],
    choices: Choices,
    counted: str,
) -> Session | SignInRefused | BackendChallenge:
    """Return the new session.

    If the sign-in fails or needs a second step, return the exception to raise.
    """
    try:
        return _start_session(request, name, ask_backend, choices, counted)
    except (SignInRefused, BackendChallenge) as refused:
        return refused


def _start_session(
    request: Request,
    name: str,
    ask_backend: Callable[[], TokenPair],
    choices: Choices,
    counted: str,
) -> Session:
    services, address = services_of(request), client_address(request)
    if wait := services.throttle.wait(counted, address):
        raise SignInRefused(ErrorCode.TOO_MANY_ATTEMPTS, wait)
    try:
        tokens = ask_backend()
        now = time.time()
        identity, validity = services.renewal_of(tokens.issuer).reader.read(tokens, now)
        if identity.name is None and name:
            identity = replace(identity, name=name)
        session = begin_session(request, identity, tokens, validity, now, choices)
        # After begin_session, so that each revocation is either found here or ends the session.
        if services.revocation.ended_meanwhile(tokens, choices.began):
            raise SignInRefused(ErrorCode.SIGN_IN_EXPIRED, reason=_ENDED_MEANWHILE)
        cookies_for(session, services)
    except BackendRejected as error:
        services.throttle.failed(counted, address)
        words = error.words if services.settings.show_reason else ""
        raise SignInRefused(_code_of(error), reason=str(error), words=words) from error
    except BackendUnavailable as error:
        # Count a failed attempt if the backend was reached, because it may have checked a wrong
        # password. A call that did not reach the backend does not count.
        if not isinstance(error, CallNotPermitted | ConnectionFailed):
            services.throttle.failed(counted, address)
        unexpected = isinstance(error, UnexpectedAnswer)
        code = "UnexpectedAnswer" if unexpected else "BackendUnavailable"
        log.warning("%s: sign-in: %s", code, error.reason)
        throttled = isinstance(error, BackendThrottled)
        raise SignInRefused(
            ErrorCode.TOO_MANY_ATTEMPTS if throttled else ErrorCode.BACKEND_UNAVAILABLE,
            error.retry_after or RETRY_AFTER,
            error.reason,
            sentence=NOT_AVAILABLE_SENTENCE if unexpected else None,
        ) from None
    except SessionTooLarge as error:
        services.throttle.failed(counted, address)
        log.error("SessionTooLarge: sign-in: %s", error)
        raise SignInRefused(
            ErrorCode.BACKEND_UNAVAILABLE, RETRY_AFTER, sentence=NOT_AVAILABLE_SENTENCE
        ) from None
    return session


def _code_of(error: BackendRejected) -> ErrorCode:
    """Return the error code for a sign-in that the backend has rejected."""
    if isinstance(error, AccountLocked):
        return ErrorCode.ACCOUNT_LOCKED
    if isinstance(error, AccountIncomplete):
        return ErrorCode.ACCOUNT_INCOMPLETE
    return ErrorCode.INVALID_CREDENTIALS


def complete_sign_in(request: Request, session: Session) -> None:
    """Sign in the user of a new session, and notify the subscribers of :class:`SignedIn`.

    If the request ends with an exception, the sign-in is undone: the browser keeps its earlier
    session, and the new session is revoked here and at the backend.

    :param session: the new session. A response callback writes its cookie.
    :raises RuntimeError: if the application's security policy does not call authapp's, so that
        nobody was signed in.
    :raises Exception: the exception of a subscriber.
    """
    ours: RequestSession = request.authapp
    before = ours.session, ours.identity, ours.error
    request.add_finished_callback(partial(_settle, session))
    headers = remember(request, str(session.identity.id), session=session)
    if ours.session is not session:
        raise RuntimeError(policy_replaced(request.registry))
    ours.before_sign_in = before
    # The application may have its own security policy, which calls authapp's and adds headers.
    request.add_response_callback(partial(_add_headers, headers))
    try:
        notify(SignedIn(request, session))
    except Exception:
        ours.undo_sign_in()
        raise


def _add_headers(headers: list[tuple[str, str]], request: Request, response: Response) -> None:
    response.headerlist.extend(headers)


def _settle(session: Session, request: Request) -> None:
    """Revoke the new session if its cookie was not written.

    This function is a finished callback: Pyramid calls it at the end of the request.
    """
    ours: RequestSession = request.authapp
    error = getattr(request, "exception", None) or sys.exc_info()[1]
    if ours.sign_in_stands or (error is not None and will_be_retried(request, error)):
        return
    earlier = [each for each in (*ours.held, *ours.older) if each is not session]
    continues = session.sid in [each.sid for each in earlier]
    if not continues:
        services_of(request).revocation.revoke(session)
    # Some backends issue one refresh token per user. The browser's earlier session then has the
    # same refresh token, which must not be revoked.
    if session.tokens.refresh not in [each.tokens.refresh for each in earlier]:
        revoke_at_backend(request, session)
    if continues:
        return  # the browser's earlier session continues
    notify(SignedOut(request, session, everywhere=False))
