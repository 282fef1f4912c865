"""CORS: lets pages of other sites read ``/session`` and the APIs of this site (threat A8).

The APIs are the paths of ``authapp.api_prefixes`` and the paths below them. A page of another site
may read the responses that its user gets from these paths, if ``authapp.cors.origins`` contains the
page's origin exactly as browsers send it in ``Origin``. The response headers follow the Fetch
standard.

CORS alone does not allow a page to *change* data. For a change, a request needs a CSRF token, and
the page's origin must be in Pyramid's setting ``pyramid.csrf_trusted_origins``.
"""

from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from authapp.services import IServices, Services
from authapp.web.responses import vary_by
from authapp.web.routes import is_at, path_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""The HTTP methods that a page of another origin may use."""

REQUEST_HEADERS = (
    "Accept",
    "Content-Type",
    "X-Authapp-Background",
    "X-CSRF-Token",
    "X-Requested-With",
)
"""The request headers that a page of another origin may send, in addition to ``cors.headers``."""

REMEMBERED = "600"
"""Seconds for which a browser may cache the response to a preflight."""


def cors_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return the tween that answers preflights, and adds the CORS headers to other responses.

    :returns: the tween, or ``handler`` itself if ``authapp.cors.origins`` is empty.
    """
    services: Services = registry.getUtility(IServices)
    origins = services.settings.cors_origins
    headers = ", ".join((*REQUEST_HEADERS, *services.settings.cors_headers))

    def cors_tween(request: Request) -> Response:
        if not _is_shared(request, services):
            return handler(request)
        origin = request.headers.get("Origin")
        asked = request.headers.get("Access-Control-Request-Method")
        allowed = origin in origins
        if request.method == "OPTIONS" and origin and asked:
            response = Response(status=204)
            if allowed and asked in METHODS:
                response.headers["Access-Control-Allow-Methods"] = asked
                response.headers["Access-Control-Allow-Headers"] = headers
                response.headers["Access-Control-Max-Age"] = REMEMBERED
        else:
            response = handler(request)
        if allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        vary_by(response, "Origin")
        return response

    return cors_tween if origins else handler


def _is_shared(request: Request, services: Services) -> bool:
    """Return True if other origins may read the path of a request."""
    return services.for_programs(path_of(request.environ)) or is_at(request, "session")


def includeme(config: Configurator) -> None:
    """Add the tween outside the renewal tween, because a preflight needs no session."""
    config.add_tween(
        "authapp.web.cors.cors_tween_factory",
        over="authapp.web.renewal_tween.renewal_tween_factory",
    )
