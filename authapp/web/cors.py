"""CORS: other origins may read ``/session`` and the paths for programs (threat A8).

An origin may read them, with credentials, if it is listed in ``authapp.cors.origins`` exactly as
the browser sends it. The headers follow the CORS protocol of the Fetch standard. The paths for
programs are those below ``authapp.api_prefixes``.

CORS does not allow an origin to *change* anything. That needs a CSRF token and an entry in
Pyramid's setting ``pyramid.csrf_trusted_origins``.
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
"""Methods that a preflight may ask for."""

REQUEST_HEADERS = "Accept, Content-Type, X-CSRF-Token, X-Requested-With"
"""Request headers that another origin may set."""

REMEMBERED = "600"
"""Seconds for which a browser may cache the answer to a preflight."""


def cors_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that answers preflights and adds the CORS headers to responses.

    If no origins are configured there is no tween.
    """
    services: Services = registry.getUtility(IServices)
    origins = services.settings.cors_origins

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
                response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
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
    return services.for_programs(path_of(request.environ)) or is_at(request, "session")


def includeme(config: Configurator) -> None:
    """Put the tween outside the session tween, because a preflight carries no cookie."""
    config.add_tween(
        "authapp.web.cors.cors_tween_factory",
        over="authapp.web.renewal_tween.renewal_tween_factory",
    )
