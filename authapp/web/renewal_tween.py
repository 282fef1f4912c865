"""The renewal tween: opens the session, renews the session if it is due or expired, runs the view.

The renewal tween is outside Pyramid's tween for exception views. So error pages see the renewed
session too.
"""

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW, INGRESS

from authapp.request_log import request_log
from authapp.services import IServices, Services
from authapp.session.error_codes import BAD_REQUEST_SENTENCE, TOO_LARGE_SENTENCE
from authapp.session.session import Phase
from authapp.web import host_session
from authapp.web.events import SessionEnded, notify
from authapp.web.idle_activity import is_by_person
from authapp.web.request_session import RequestSession, renew_session
from authapp.web.responses import failure, sign_in_required
from authapp.web.routes import SIGN_IN, is_at, path_of

log = request_log(__name__)

MAX_FORM = 65_536
"""The largest request body that authapp's own pages accept, in bytes."""

Handler = Callable[[Request], Response]

_NOT_REDIRECTED = (*SIGN_IN, "logout", "logout_backchannel", "session", "verify")
"""The routes whose views handle an ended session. For them, the tween runs the view and does not
redirect to the sign-in page."""


def renewal_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return the tween that opens and renews sessions.

    For some paths, such as those of ``authapp.refresh.exclude``, the tween does neither, and only
    runs the view: see ``excluded`` in :class:`authapp.services.Services`.
    """
    services: Services = registry.getUtility(IServices)

    def renewal_tween(request: Request) -> Response:
        if not _is_utf8(request.environ):
            return handler(request)
        if _has_body(request.environ) and _is_too_large(request):
            log.warning("TooLarge: %s %s", request.method, request.path[:256])
            return failure(request, 413, "TooLarge", TOO_LARGE_SENTENCE)
        if _is_multipart(request.environ) and is_at(request):
            log.warning("BadRequest: %s %s: multipart", request.method, request.path[:256])
            return failure(request, 400, "BadRequest", BAD_REQUEST_SENTENCE)
        if services.excluded(path_of(request.environ)):
            return handler(request)
        ours: RequestSession = request.authapp
        ours.by_person = is_by_person(request)
        ours.writes = True  # the response callback then writes the cookie
        if ours.session is not None:
            if ours.phase is not Phase.FRESH and not _signs_out(request):
                renew_session(request, ours.session, ours.known)
        elif ours.opened is not None and ours.error is not None:
            host_session.end_if_revoked(request, ours.opened)
            notify(SessionEnded(request, ours.opened, ours.error))
        ended = ours.opened is not None and ours.session is None
        if ended and not is_at(request, *_NOT_REDIRECTED):
            return sign_in_required(request, ours.error)
        return handler(request)

    return renewal_tween


def _is_utf8(environ: dict[str, Any]) -> bool:
    """Return True if the path is UTF-8. If not, Pyramid's router raises an error."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if path.isascii():
        return True
    try:
        path.encode("latin-1").decode()  # a WSGI path is bytes decoded as latin-1 (PEP 3333)
    except UnicodeDecodeError:
        return False
    return True


def _has_body(environ: dict[str, Any]) -> bool:
    # CONTENT_LENGTH may be an empty string (PEP 3333). The request then has no body.
    return bool(environ.get("CONTENT_LENGTH")) or "HTTP_TRANSFER_ENCODING" in environ


def _is_multipart(environ: dict[str, Any]) -> bool:
    # None of authapp's forms is multipart, and it takes long to parse a hostile multipart body.
    kind: str | None = environ.get("CONTENT_TYPE")
    return bool(kind) and str(kind).lstrip().lower().startswith("multipart")


def _is_too_large(request: Request) -> bool:
    """Return True if the request is for one of authapp's own pages, and its body is too large.

    A body of unknown length counts as too large.
    """
    length = request.content_length
    return (length is None or length > MAX_FORM) and is_at(request)


def _signs_out(request: Request) -> bool:
    """Return True if the request is a sign-out. Before a sign-out, the session is not renewed."""
    return request.method == "POST" and is_at(request, "logout")


def includeme(config: Configurator) -> None:
    """Add the tween outside Pyramid's tween for exception views, and inside pyramid_tm's tween.

    Inside pyramid_tm's tween, subscribers of authapp's events can use the transaction of the
    request. The application may include authapp and pyramid_tm in any order.
    """
    config.add_tween(
        "authapp.web.renewal_tween.renewal_tween_factory",
        under=("pyramid_tm.tm_tween_factory", INGRESS),
        over=EXCVIEW,
    )
