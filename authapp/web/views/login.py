"""Sign-in: the form, and what happens when it is sent."""

import logging
import time
from dataclasses import replace
from typing import Any

from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED, remember
from pyramid.view import view_config

from authapp.backend.protocol import BackendRejected, BackendUnavailable, Credentials
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
"""The longest user name or password, in bytes. A longer one is refused without a call."""

_STATUS = {
    ErrorCode.INVALID_CREDENTIALS: 401,
    ErrorCode.TOO_MANY_ATTEMPTS: 429,
    ErrorCode.BACKEND_UNAVAILABLE: 503,
}


class SignInRefused(Exception):
    """A sign-in failed.

    :ivar code: why it failed.
    :ivar retry_after: seconds after which to try again, or None if waiting does not help.
    """

    def __init__(self, code: ErrorCode, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="login",
    request_method="GET",
    renderer="authapp:templates/login.jinja2",
)
def login_form(request: Request) -> Any:
    """Show the sign-in form, or redirect to ``next`` if the user is signed in."""
    target = safe_next(request, request.GET.get("next"))
    if request.identity is not None:
        return see_other(target)
    reason = request.session_error or request.GET.get("reason", "")
    return _form(request, target, notice=reason_sentence(str(reason)))


@view_config(
    permission=NO_PERMISSION_REQUIRED,
    route_name="login",
    request_method="POST",
    renderer="authapp:templates/login.jinja2",
    require_csrf=False,
)
def login(request: Request) -> Any:
    """Sign in and redirect to ``next``, or show the form again with the reason for the failure.

    :raises pyramid.exceptions.BadCSRFToken: as :func:`authapp.web.csrf.check_csrf`.
    """
    check_csrf(request)
    target = safe_next(request, _field(request, "next"))
    credentials = Credentials(_field(request, "username"), _field(request, "password"))
    try:
        session = _sign_in(request, credentials)
    except SignInRefused as refused:
        request.registry.notify(SignInFailed(request, credentials.username, refused.code))
        request.response.status = _STATUS[refused.code]
        if refused.retry_after is not None:
            request.response.headers["Retry-After"] = retry_after(refused.retry_after)
        return _form(request, target, refused.code, credentials.username)
    request.registry.notify(SignedIn(request, session))
    return see_other(target)


def _sign_in(request: Request, credentials: Credentials) -> Session:
    """Sign in the user with these credentials.

    :returns: the new session, which the response will carry.
    :raises SignInRefused: if the credentials are wrong, if there were too many failed attempts,
        or if the backend gives no usable answer.
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
    except BackendRejected:
        services.throttle.failed(name, address)
        raise SignInRefused(ErrorCode.INVALID_CREDENTIALS) from None
    except BackendUnavailable as error:
        log.warning("BackendUnavailable: sign-in: %s", error.reason)
        seconds = error.retry_after or RETRY_AFTER
        raise SignInRefused(ErrorCode.BACKEND_UNAVAILABLE, seconds) from None
    except SessionTooLarge as error:
        log.error("SessionTooLarge: sign-in: %s", error)
        raise SignInRefused(ErrorCode.BACKEND_UNAVAILABLE, RETRY_AFTER) from None
    return session


def _field(request: Request, name: str) -> str:
    value = request.POST.get(name, "")
    return value if isinstance(value, str) else ""


def _plausible(text: str) -> bool:
    """Whether this can be a user name or a password. If not, the backend is not called."""
    return 0 < len(text.encode(errors="surrogatepass")) <= MAX_FIELD and "\0" not in text


def _form(
    request: Request,
    target: str,
    code: ErrorCode | None = None,
    username: str = "",
    notice: Any = None,
) -> dict[str, Any]:
    request.response.cache_control = "no-store"
    return {
        "next": target,
        "error": code,
        "username": username[:MAX_FIELD],
        "notice": notice,
        "known_users": _known_users(request),
    }


def _known_users(request: Request) -> list[Any]:
    """The users of the embedded issuer, with passwords. It exists in development only."""
    if services_of(request).settings.backend_url != EMBEDDED:
        return []
    from authapp.issuer import read_users

    return read_users(request.registry.settings.get("issuer.users", ""))
