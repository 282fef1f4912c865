"""Which other origins may read ``/session`` and the paths for programs: threat A8.

Those of ``authapp.cors.origins``, exactly as they are written there, with credentials. The
Fetch standard (CORS protocol) says what is answered. What they may *change* is decided by the
CSRF check all the same: Pyramid's ``pyramid.csrf_trusted_origins`` lists who may.
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
REQUEST_HEADERS = "Accept, Content-Type, X-CSRF-Token, X-Requested-With"
REMEMBERED = "600"
"""Seconds for which a browser need not ask again."""


def cors_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that answers preflights, and says on answers who may read them."""
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
    """Put the tween around that of the session: a preflight has no cookie."""
    config.add_tween(
        "authapp.web.cors.cors_tween_factory",
        over="authapp.web.session_tween.session_tween_factory",
    )
