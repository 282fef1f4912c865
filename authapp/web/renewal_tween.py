"""The tween: open the session, renew it if it is due, then run the view.

It is outside the tween for exception views, so that error pages see the renewed session too.
"""

import logging
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from authapp.services import IServices, Services
from authapp.session.error_codes import TOO_LARGE_SENTENCE
from authapp.session.session import Phase
from authapp.web.events import SessionEnded
from authapp.web.request_session import RequestSession, renew_session
from authapp.web.responses import failure, sign_in_required
from authapp.web.routes import ROUTES, is_at, path_of

log = logging.getLogger(__name__)

MAX_FORM = 65_536
"""Bytes of the largest form that our own pages accept."""

Handler = Callable[[Request], Response]

_SHOW_THE_END = ("login", "logout", "session")
"""Routes that say themselves that a session has ended, and never redirect to sign-in."""


def renewal_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """The tween around every request, except those to excluded paths."""
    services: Services = registry.getUtility(IServices)

    def renewal_tween(request: Request) -> Response:
        if not _is_text(request.environ):
            return handler(request)
        if _has_body(request.environ) and _is_too_large(request):
            log.warning("TooLarge: %s %s", request.method, request.path[:256])
            return failure(request, 413, "TooLarge", TOO_LARGE_SENTENCE)
        if services.excluded(path_of(request.environ)):
            return handler(request)
        ours: RequestSession = request.authapp
        ours.writes = True  # the callback that was added when it was opened will write it
        if ours.session is not None:
            if ours.phase is not Phase.FRESH and not _signs_out(request):
                renew_session(request, ours.session, ours.known)
        elif ours.opened is not None and ours.error is not None:
            request.registry.notify(SessionEnded(request, ours.opened, ours.error))
        ended = ours.opened is not None and ours.session is None
        if ended and not is_at(request, *_SHOW_THE_END):
            return sign_in_required(request, ours.error)
        return handler(request)

    return renewal_tween


def _is_text(environ: dict[str, Any]) -> bool:
    """Whether the path is UTF-8. If it is not, the router answers that."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if path.isascii():
        return True
    try:
        path.encode("latin-1").decode()  # PEP 3333 gives bytes as latin-1
    except UnicodeDecodeError:
        return False
    return True


def _has_body(environ: dict[str, Any]) -> bool:
    # PEP 3333: CONTENT_LENGTH may be empty, which means no body.
    return bool(environ.get("CONTENT_LENGTH")) or "HTTP_TRANSFER_ENCODING" in environ


def _is_too_large(request: Request) -> bool:
    """Whether a body for one of our pages is longer than any form, or of unknown length."""
    length = request.content_length
    return (length is None or length > MAX_FORM) and is_at(request, *ROUTES)


def _signs_out(request: Request) -> bool:
    return request.method == "POST" and is_at(request, "logout")


def includeme(config: Configurator) -> None:
    """Add the tween."""
    config.add_tween("authapp.web.renewal_tween.renewal_tween_factory", over=EXCVIEW)
