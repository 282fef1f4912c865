"""Signs users in: asks the backend, counts failures, and starts the session."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from pyramid.i18n import TranslationString
from pyramid.request import Request
from pyramid.security import remember

from authapp.backend.protocol import (
    AccountIncomplete,
    AccountLocked,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    CallNotPermitted,
    ConnectionFailed,
    UnexpectedAnswer,
)
from authapp.services import services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import NOT_AVAILABLE_SENTENCE, RETRY_AFTER, ErrorCode
from authapp.session.session import Session, TokenPair
from authapp.web.events import SignInFailed
from authapp.web.responses import retry_after

log = logging.getLogger(__name__)

_STATUS = {
    ErrorCode.INVALID_CREDENTIALS: 401,
    ErrorCode.TOO_MANY_ATTEMPTS: 429,
    ErrorCode.ACCOUNT_LOCKED: 403,
    ErrorCode.ACCOUNT_INCOMPLETE: 403,
    ErrorCode.BACKEND_UNAVAILABLE: 503,
}


class SignInRefused(Exception):
    """A sign-in failed.

    :ivar code: why the sign-in failed.
    :ivar retry_after: seconds after which the user may try again. None if the user need not wait.
    :ivar reason: details for the log, without secrets.
    :ivar sentence: the sentence for the person.
    :ivar words: the backend's own words for the person, or an empty string.
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


def sign_in(request: Request, name: str, ask_backend: Callable[[], TokenPair]) -> Session:
    """Sign in a user.

    :param name: the user name, as typed. Failures are counted for it.
    :param ask_backend: calls the backend and returns the tokens.
    :returns: the new session. A response callback writes the cookie of this session.
    :raises SignInRefused: if the sign-in fails. Its ``code`` says why. The failure is announced by
        the event :class:`SignInFailed`, and the status of ``request.response`` is set.
    :raises BackendChallenge: if the backend asks for a second step.
    """
    try:
        return _start_session(request, name, ask_backend)
    except SignInRefused as refused:
        request.registry.notify(SignInFailed(request, name, refused.code, refused.reason))
        request.response.status = _STATUS[refused.code]
        if refused.retry_after is not None:
            request.response.headers["Retry-After"] = retry_after(refused.retry_after)
        raise


def _start_session(request: Request, name: str, ask_backend: Callable[[], TokenPair]) -> Session:
    services, address = services_of(request), request.remote_addr or ""
    if wait := services.throttle.wait(name, address):
        raise SignInRefused(ErrorCode.TOO_MANY_ATTEMPTS, wait)
    try:
        tokens = ask_backend()
        now = time.time()
        identity, validity = services.reader.read(tokens, now)
        if identity.name is None:
            identity = replace(identity, name=name)
        began = services.revocation.next_start(identity.id, now)
        session = Session.start(identity, tokens, validity, now, began)
        remember(request, str(identity.id), session=session)
        request.authapp.replaces = True
    except BackendRejected as error:
        services.throttle.failed(name, address)
        words = error.words if services.settings.show_reason else ""
        raise SignInRefused(_code_of(error), reason=str(error), words=words) from error
    except BackendUnavailable as error:
        # Any response may conceal that the password was wrong. Only calls without one do not count.
        if not isinstance(error, CallNotPermitted | ConnectionFailed):
            services.throttle.failed(name, address)
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
        services.throttle.failed(name, address)
        log.error("SessionTooLarge: sign-in: %s", error)
        raise SignInRefused(ErrorCode.BACKEND_UNAVAILABLE, RETRY_AFTER) from None
    return session


def _code_of(error: BackendRejected) -> ErrorCode:
    """Return the error code for a rejected sign-in."""
    if isinstance(error, AccountLocked):
        return ErrorCode.ACCOUNT_LOCKED
    if isinstance(error, AccountIncomplete):
        return ErrorCode.ACCOUNT_INCOMPLETE
    return ErrorCode.INVALID_CREDENTIALS
