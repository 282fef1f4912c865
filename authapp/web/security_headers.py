"""Response headers that tell browsers what a page may do: threat L4.

``authapp.headers`` says where they are set: on authapp's own pages and errors (``own``, the
default of the add-on: an application's pages may need more than these allow), on ``all``
responses (the default of the site), or ``off``. A view's own headers stay as they are.
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
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT_TRANSPORT_SECURITY = "max-age=31536000"


def security_headers_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that sets them."""
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
