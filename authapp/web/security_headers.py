"""Response headers that tell browsers what a page may do (threat L4).

The setting ``authapp.headers`` says which responses get them:

- ``own``: authapp's own pages and errors. This is the default of the add-on, because an
  application's pages may need more than these headers allow.
- ``all``: all responses. This is the default of the site.
- ``off``: none.

A header that a view has set itself stays as it is.
"""

from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.services import IServices
from authapp.web.responses import OwnResponse
from authapp.web.routes import ROUTES

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
"""authapp's pages load everything from their own origin, and no site may frame them."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers and their values."""

STRICT_TRANSPORT_SECURITY = "max-age=31536000"
"""One year (RFC 6797). It is sent over https only."""


def security_headers_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that sets the headers. There is none if the setting is ``off``."""
    where = registry.getUtility(IServices).settings.headers

    def security_headers_tween(request: Request) -> Response:
        response = handler(request)
        if where == "all" or isinstance(response, OwnResponse) or _is_own(request):
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            if request.scheme == "https":
                response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
        return response

    return handler if where == "off" else security_headers_tween


def _is_own(request: Request) -> bool:
    route = getattr(request, "matched_route", None)
    return route is not None and route.name in ROUTES


def includeme(config: Configurator) -> None:
    """Put the tween outside all others, so that every response passes it."""
    config.add_tween("authapp.web.security_headers.security_headers_tween_factory", under=INGRESS)
