"""Bounds on request headers, before anything parses them: threats C1 and D2.

Some parsers take quadratic time, so that a header of 60 KB costs half a minute of processor
time. Here each header that Pyramid or authapp parses is bounded before that.
"""

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.session.cookies import readable

MAX_HEADER = 1000
"""Characters of the longest header that is parsed. A longer one counts as absent."""

_PARSED = (
    "HTTP_ACCEPT",
    "HTTP_FORWARDED",
    "HTTP_HX_",
    "HTTP_IF_",
    "HTTP_ORIGIN",
    "HTTP_RANGE",
    "HTTP_SEC_",
    "HTTP_X_CSRF_TOKEN",
    "HTTP_X_FORWARDED_",
    "HTTP_X_REQUEST",
)
"""What the names of those headers begin with, as PEP 3333 spells them."""


def header_limits_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that bounds them."""

    def header_limits_tween(request: Request) -> Response:
        _bound(request.environ)
        return handler(request)

    return header_limits_tween


def _bound(environ: dict[str, Any]) -> None:
    long = [
        name
        for name, value in environ.items()
        if name.startswith(_PARSED) and len(value) > MAX_HEADER
    ]
    for name in long:
        del environ[name]
    if "HTTP_COOKIE" in environ:
        environ["HTTP_COOKIE"] = readable(environ["HTTP_COOKIE"])


def includeme(config: Configurator) -> None:
    """Add the tween outside all others."""
    config.add_tween("authapp.web.header_limits.header_limits_tween_factory", under=INGRESS)
