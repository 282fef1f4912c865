"""The attributes that authapp adds to every request, such as ``request.validity``."""

import time
from dataclasses import replace
from typing import NamedTuple

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.request import Request

from authapp.renewal.successors import Known
from authapp.request_log import request_log
from authapp.services import Services, services_of
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Phase, Session, Validity
from authapp.web.cookie_writer import finish_response
from authapp.web.request_backend import BackendSession
from authapp.web.request_ids import request_id
from authapp.web.request_session import RequestSession
from authapp.web.retried_requests import once
from authapp.web.session_json import session_options

log = request_log(__name__)


def open_request_session(request: Request) -> RequestSession:
    """Open the session in the cookies of a request, without renewing it: ``request.authapp``.

    Normally the renewal tween then renews the session, if it is due or expired. The tween does not
    run in a script, or in a subrequest without ``use_tweens=True``. On an excluded path, it does
    not open or renew the session. In these cases:

    - An expired session signs nobody in.
    - A cookie is written only if the request signs a user in or out, or if ``request.backend``
      renews the session.

    :returns: an object whose attribute ``session`` is None if the cookies contain no session, or if
        the session has ended.
    """
    request.add_response_callback(finish_response)
    header = request.environ.get("HTTP_COOKIE", "")
    # pyramid_retry may repeat a request that signs the user out, after the first attempt has
    # revoked the session. The second attempt must still find the session, so that it can do all
    # steps of the sign-out.
    found = once(request, ("open", header), lambda: _find(services_of(request), header))
    ours = RequestSession(found.names, found.session, found.older)
    if found.session is None:
        if ours.names:
            log.info("SessionInvalid: no secret decrypts the session cookie")
            ours.end(ErrorCode.SESSION_INVALID)
        return ours
    ours.phase, ours.known = found.phase, found.known
    if found.revoked:
        ours.end(ErrorCode.SESSION_REVOKED)
    elif found.phase is Phase.ENDED:
        ours.end(ErrorCode.REFRESH_TOKEN_EXPIRED)
    elif found.used is None:
        ours.end(ErrorCode.SESSION_IDLE)
    elif found.phase.valid:
        ours.use(found.used)
    else:
        ours.session = found.used
    return ours


class _Found(NamedTuple):
    """What the cookies of a request contain. For most attributes, see :class:`RequestSession`.

    :ivar revoked: True if ``session`` was revoked.
    :ivar used: the result of :func:`_unless_idle` for ``session``: None if ``session`` is idle.
    """

    names: tuple[str, ...]
    session: Session | None
    older: tuple[Session, ...] = ()
    phase: Phase = Phase.ENDED
    known: Known | None = None
    revoked: bool = False
    used: Session | None = None


def _find(services: Services, header: str) -> _Found:
    """Find the session in a ``Cookie`` header, and check whether the session was revoked."""
    names, session, older = services.cookie_reader.read(header)
    # A browser may send several session cookies, set for different paths or domains. If the first
    # session has ended, use the next one.
    while older and session is not None and _has_ended(session, services):
        session, *rest = older
        older = tuple(rest)
    if session is None:
        return _Found(names, None, older)
    services.successors.brought(session)
    phase = session.phase(time.time(), services.settings.refresh_buffer)
    known = None
    if phase is Phase.FRESH:
        revoked = services.revocation.known_revoked(session)
    else:
        known = services.successors.recall(session)
        revoked = known.revoked
    used = _unless_idle(session, services)
    return _Found(names, session, older, phase, known, revoked, used)


def _unless_idle(session: Session, services: Services) -> Session | None:
    """Return the session, or None if its user has not used it for ``session.idle`` seconds.

    If the cookie says that the session is idle, this function also asks the index of sessions.
    Another tab may have used the session since this request's cookie was written.

    :returns: the session, with the time of the last use from the index if the index was asked.
        None if the session is idle.
    """
    limits = services.settings.session_limits
    if limits.is_idle(session, time.time()):
        session = replace(session, used_at=services.index.last_used(session))
        if limits.is_idle(session, time.time()):
            return None
    return session


def _has_ended(session: Session, services: Services) -> bool:
    """Return True if the session was revoked, is idle, or has only expired tokens."""
    phase = session.phase(time.time(), services.settings.refresh_buffer)
    if phase is Phase.ENDED or services.revocation.known_revoked(session):
        return True
    return _unless_idle(session, services) is None


def session_error(request: Request) -> ErrorCode | None:
    """Return why no user is signed in, although there was a session: ``request.session_error``.

    :returns: an error code. None if a user is signed in, or if the request has no session.
    """
    error: ErrorCode | None = request.authapp.error
    return error


def validity(request: Request) -> Validity | None:
    """Return the times at which the user's tokens expire: ``request.validity``.

    :returns: the times, or None if no user is signed in.
    """
    found: Validity | None = request.authapp.validity
    return found


def check_names(event: ApplicationCreated) -> None:
    """Log a warning at start-up for each name in ``_NAMES`` that the application uses as well.

    The application's own request method then replaces authapp's method of the same name in the
    views. authapp's code does not use these names.
    """
    introspector = event.app.registry.introspector
    for each in introspector.get_category("request extensions") or ():
        name, place = each["introspectable"].discriminator, each["introspectable"].action_info
        if name in _NAMES and place.file != __file__:
            log.warning(
                "NameTaken: %s, line %s, replaces authapp's request.%s",
                place.file,
                place.line,
                name,
            )


_NAMES = ("backend", "request_id", "session_error", "session_options", "validity")


def includeme(config: Configurator) -> None:
    """Add the attributes and methods to requests.

    The application may replace the names without the prefix ``authapp``. So authapp's own code and
    templates do not use them.
    """
    config.add_request_method(open_request_session, "authapp", reify=True)
    config.add_request_method(request_id, "authapp_request_id", reify=True)
    config.add_request_method(session_options, "authapp_session_options")
    config.add_request_method(BackendSession, "backend", reify=True)
    # A request has one id, which is made at random the first time.
    config.add_request_method(lambda request: request.authapp_request_id, "request_id", reify=True)
    config.add_request_method(session_error, property=True)
    config.add_request_method(session_options)
    config.add_request_method(validity, property=True)
    config.add_subscriber(check_names, ApplicationCreated)
