"""The walk of a request: open the session, renew it if due, then the view.

This tween stands outside the one for exception views, so that error pages are served with
the renewed session too.
"""

import logging
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from authapp.errors import TOO_LARGE_SENTENCE
from authapp.events import SessionEnded
from authapp.parts import IParts, Parts
from authapp.responses import failure, sign_in_required
from authapp.routes import ROUTES, is_at, path_of
from authapp.session import Phase
from authapp.state import State, renew_session

log = logging.getLogger(__name__)

MAX_FORM = 65_536
"""Bytes of the largest form that our own pages read."""

Handler = Callable[[Request], Response]

_ANSWER_THEMSELVES = ("login", "logout", "session")
"""Routes that show an ended session in their own words, and never redirect."""


def session_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """The tween around every request but those to excluded paths."""
    parts: Parts = registry.getUtility(IParts)

    def session_tween(request: Request) -> Response:
        if not _is_text(request.environ):
            return handler(request)
        if _has_body(request.environ) and _is_too_large(request):
            log.warning("TooLarge: %s %s", request.method, request.path[:256])
            return failure(request, 413, "TooLarge", TOO_LARGE_SENTENCE)
        if parts.excluded(path_of(request.environ)):
            return handler(request)
        state: State = request.authapp
        state.writes = True  # the callback of the opening is still to come
        if state.session is not None:
            if state.phase is not Phase.FRESH and not _signs_out(request):
                renew_session(request, state.session, state.remembered)
        elif state.opened is not None and state.error is not None:
            request.registry.notify(SessionEnded(request, state.opened, state.error))
        over = state.opened is not None and state.session is None
        if over and not is_at(request, *_ANSWER_THEMSELVES):
            return sign_in_required(request, state.error)
        return handler(request)

    return session_tween


def _is_text(environ: dict[str, Any]) -> bool:
    """Whether the address is text; if not, the router says so."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if path.isascii():
        return True
    try:
        path.encode("latin-1").decode()  # as PEP 3333 has it
    except UnicodeDecodeError:
        return False
    return True


def _has_body(environ: dict[str, Any]) -> bool:
    # PEP 3333: it may be empty, which is none.
    return bool(environ.get("CONTENT_LENGTH")) or "HTTP_TRANSFER_ENCODING" in environ


def _is_too_large(request: Request) -> bool:
    """Whether it goes to one of our own pages, and is larger than any form, or nobody says."""
    length = request.content_length
    return (length is None or length > MAX_FORM) and is_at(request, *ROUTES)


def _signs_out(request: Request) -> bool:
    return request.method == "POST" and is_at(request, "logout")


def includeme(config: Configurator) -> None:
    """Put the tween in its place."""
    config.add_tween("authapp.tween.session_tween_factory", over=EXCVIEW)
