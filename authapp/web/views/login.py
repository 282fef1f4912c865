"""Sign-in: the view that shows the form and the view that receives the form."""

import logging
import time
from dataclasses import replace
from typing import Any

from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED, remember
from pyramid.view import view_config

from authapp.backend.protocol import (
    AccountIncomplete,
    AccountLocked,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    CallNotPermitted,
    ConnectionFailed,
    Credentials,
    UnexpectedAnswer,
)
from authapp.services import services_of
from authapp.session.cookies import SessionTooLarge
from authapp.session.error_codes import RETRY_AFTER, ErrorCode, reason_sentence
from authapp.session.session import Session
from authapp.settings.allowed_values import EMBEDDED
from authapp.web.csrf import check_csrf
from authapp.web.events import SignedIn, SignInFailed
from authapp.web.redirects import safe_next
from authapp.web.responses import retry_after, see_other

log = logging.getLogger(__name__)

MAX_FIELD = 4096
"""The maximum length of a user name or password, in bytes.

If a user name or password is longer, the sign-in fails, and the backend is not called.
"""

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
    """

    def __init__(self, code: ErrorCode, retry_after: float | None = None, reason: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after
        self.reason = reason


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login",
    request_method="GET",
    renderer="authapp:templates/login.jinja2",
)
def login_form(request: Request) -> Any:
    """Show the sign-in form, or redirect to ``next`` if a user is signed in already.

    :returns: the variables of the template, or a 303 redirect.
    """
    target = safe_next(request, request.GET.get("next"))
    if request.identity is not None:
        return see_other(target)
    reason = request.session_error or request.GET.get("reason", "")
    return _form(request, target, notice=reason_sentence(str(reason)))


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="authapp.login",
    request_method="POST",
    renderer="authapp:templates/login.jinja2",
    require_csrf=False,
)
def login(request: Request) -> Any:
    """Sign the user in and redirect to ``next``.

    If the sign-in fails, the form is shown again with the reason.

    :returns: a 303 redirect. If the sign-in failed, the variables of the template.
    :raises pyramid.exceptions.BadCSRFToken: see :func:`authapp.web.csrf.check_csrf`.
    """
    check_csrf(request)
    target = safe_next(request, _field(request, "next"))
    credentials = Credentials(
        _field(request, "username"), _field(request, "password"), request.remote_addr
    )
    try:
        session = _sign_in(request, credentials)
    except SignInRefused as refused:
        request.registry.notify(
            SignInFailed(request, credentials.username, refused.code, refused.reason)
        )
        request.response.status = _STATUS[refused.code]
        if refused.retry_after is not None:
            request.response.headers["Retry-After"] = retry_after(refused.retry_after)
        return _form(request, target, refused.code, credentials.username)
    request.registry.notify(SignedIn(request, session))
    return see_other(target)


def _sign_in(request: Request, credentials: Credentials) -> Session:
    """Sign in the user with these credentials.

    :returns: the new session. A response callback writes the cookie of this session.
    :raises SignInRefused: if the sign-in fails. Its ``code`` says why.
    """
    services = services_of(request)
    name, address = credentials.username, request.remote_addr or ""
    if wait := services.throttle.wait(name, address):
        raise SignInRefused(ErrorCode.TOO_MANY_ATTEMPTS, wait)
    try:
        if not all(map(_plausible, (name, credentials.password))):
            raise BackendRejected("no user can have these credentials")
        tokens = services.backend.login(credentials)
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
        raise SignInRefused(_code_of(error), reason=str(error)) from None
    except BackendUnavailable as error:
        # Any response may conceal that the password was wrong. Only calls without one do not count.
        if not isinstance(error, CallNotPermitted | ConnectionFailed):
            services.throttle.failed(name, address)
        code = "UnexpectedAnswer" if isinstance(error, UnexpectedAnswer) else "BackendUnavailable"
        log.warning("%s: sign-in: %s", code, error.reason)
        throttled = isinstance(error, BackendThrottled)
        raise SignInRefused(
            ErrorCode.TOO_MANY_ATTEMPTS if throttled else ErrorCode.BACKEND_UNAVAILABLE,
            error.retry_after or RETRY_AFTER,
            error.reason,
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


def _field(request: Request, name: str) -> str:
    """Return a field of the form, or an empty string if the field is missing or a file."""
    value = request.POST.get(name, "")
    return value if isinstance(value, str) else ""


def _plausible(text: str) -> bool:
    """Return True if a string may be a user name or password. If not, the backend is not called."""
    return 0 < len(text.encode(errors="surrogatepass")) <= MAX_FIELD and "\0" not in text


def _form(
    request: Request,
    target: str,
    code: ErrorCode | None = None,
    username: str = "",
    notice: Any = None,
) -> dict[str, Any]:
    """Return the variables of the sign-in form's template, and forbid caches to store the page."""
    request.response.cache_control = "no-store"
    return {
        "next": target,
        "error": code,
        "username": username[:MAX_FIELD],
        "notice": notice,
        "known_users": _known_users(request),
    }


def _known_users(request: Request) -> list[Any]:
    """Return the users of the embedded issuer, with passwords.

    :returns: an empty list if there is no embedded issuer. It is allowed in development only.
    """
    if services_of(request).settings.backend_url != EMBEDDED:
        return []
    from authapp.issuer import read_users

    return read_users(request.registry.settings.get("issuer.users", ""))
