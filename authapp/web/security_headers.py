"""Response headers that tell browsers what a page may do (threat L4).

The setting ``authapp.headers`` chooses the responses that get these headers:

- ``own``: the responses of authapp's own pages, and authapp's error responses. This is the default
  in an application that includes authapp, because the headers may forbid what the application's own
  pages do.
- ``all``: all responses. This is the default of the site (``egg:authapp``).
- ``off``: no responses.

If a view has set one of the headers, the view's value is kept.
"""

from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.services import IServices
from authapp.settings.settings import Settings
from authapp.web.responses import OwnResponse
from authapp.web.routes import is_own

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
"""A page may load resources only from its own origin, and no site may show the page in a frame."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Name of the header -> value of the header."""

STRICT_TRANSPORT_SECURITY = "max-age=31536000"
"""The value of the header (RFC 6797): one year in seconds. It is sent over https only."""


def security_headers_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return the tween that sets the headers.

    :returns: the tween, or ``handler`` itself if ``authapp.headers`` is ``off``.
    """
    settings = registry.getUtility(IServices).settings
    applies_to = settings.headers
    headers = HEADERS | {"Content-Security-Policy": _content_security_policy(settings)}

    def security_headers_tween(request: Request) -> Response:
        response = handler(request)
        if applies_to == "all" or isinstance(response, OwnResponse) or _is_own(request):
            for name, value in headers.items():
                response.headers.setdefault(name, value)
            if request.scheme == "https":
                response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
        return response

    return handler if applies_to == "off" else security_headers_tween


def _content_security_policy(settings: Settings) -> str:
    """Return the content security policy, which also allows the hosts of ``authapp.verify.hosts``.

    When a user submits the sign-in form, authapp may redirect to these hosts. Some browsers apply
    ``form-action`` to such a redirect too.
    """
    schemes = ("https", "http") if settings.development else ("https",)
    hosts = [f"{scheme}://{host}" for host in settings.edge.hosts for scheme in schemes]
    own = "form-action 'self'"
    return CONTENT_SECURITY_POLICY.replace(own, " ".join((own, *hosts)))


def _is_own(request: Request) -> bool:
    """Return True if the request is for one of authapp's own pages."""
    return is_own(getattr(request, "matched_route", None))


def includeme(config: Configurator) -> None:
    """Add the tween outside the tweens for CORS and for the renewal of sessions.

    So the responses of these tweens get the headers too.
    """
    config.add_tween("authapp.web.security_headers.security_headers_tween_factory", under=INGRESS)
