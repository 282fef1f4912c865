"""Limits on request headers, applied before any code parses the headers (threats C1 and D2).

Some parsers take quadratic time: such a parser needs half a minute of processor time for a header
of 60 KB. So this module limits every header that Pyramid or authapp parses.
"""

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.services import IServices
from authapp.session.cookies import SessionCookie, readable

MAX_HEADER = 1000
"""The maximum length in characters of a header that Pyramid or authapp parses. Longer headers are
removed from the request."""

MAX_COOKIES = 300
"""The maximum number of cookies in a request. Further cookies are removed from the request.
Browsers keep at most 180 cookies for a site."""

_PARSED = (
    "CONTENT_TYPE",
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
"""Headers that Pyramid or authapp parses: prefixes of their WSGI names (PEP 3333)."""


def header_limits_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return the tween that limits the headers of each request."""
    cookie = registry.getUtility(IServices).cookie

    def header_limits_tween(request: Request) -> Response:
        _limit_headers(request.environ, cookie)
        return handler(request)

    return header_limits_tween


def _limit_headers(environ: dict[str, Any], cookie: SessionCookie) -> None:
    """Remove long headers (of :data:`_PARSED`) from a WSGI environ, and repair ``Cookie``."""
    too_long = [
        name
        for name, value in environ.items()
        # The length is compared first, because few values are long. Some values are no strings.
        if isinstance(value, str) and len(value) > MAX_HEADER and name.startswith(_PARSED)
    ]
    for name in too_long:
        del environ[name]
    if "HTTP_COOKIE" in environ:
        environ["HTTP_COOKIE"] = _limit_cookies(environ["HTTP_COOKIE"], cookie)


def _limit_cookies(header: str, cookie: SessionCookie) -> str:
    """Repair a ``Cookie`` header: see :func:`authapp.session.cookies.readable`.

    If a session cookie is removed, its name stays in the header, without a value. If the request
    then has no session, the response clears the cookies with these names in the browser.
    """
    kept = readable(_first_cookies(header))
    if kept == header or cookie.name not in header:
        return kept
    names = cookie.read(kept).names
    removed = [f"{name}=" for name in cookie.read(header).names if name not in names]
    return "; ".join(filter(None, (kept, *removed)))


def _first_cookies(header: str) -> str:
    """Return a ``Cookie`` header with the first :data:`MAX_COOKIES` cookies."""
    if header.count(";") < MAX_COOKIES:
        return header
    return ";".join(header.split(";", MAX_COOKIES)[:MAX_COOKIES])


def includeme(config: Configurator) -> None:
    """Add this module's tween outside all others, so that none of them parses a long header."""
    config.add_tween("authapp.web.header_limits.header_limits_tween_factory", under=INGRESS)
