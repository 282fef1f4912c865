"""The names and paths of authapp's own routes."""

from typing import Any

from pyramid.config import Configurator
from pyramid.interfaces import IRoutesMapper
from pyramid.request import Request

ROUTES = {
    "login": "/login",
    "logout": "/logout",
    "session": "/session",
    "account": "/account",
    "health": "/health",
}
"""Route name -> path below the application's ``route_prefix`` (contract section 4)."""

STATIC = "authapp-static"
"""The path of the stylesheet and the scripts, below the application's ``route_prefix``."""


def path_of(environ: dict[str, Any]) -> str:
    """Return the path that Pyramid's router matches against the routes.

    A line feed at the end of the path is removed, because route patterns ignore such a line feed.

    :param environ: the WSGI environ. Its strings are bytes decoded as latin-1 (PEP 3333).
    :returns: the path below the application's mount point. Bytes that are not UTF-8 are replaced.
    """
    path: str = environ.get("PATH_INFO") or "/"
    return path.encode("latin-1").decode(errors="replace").removesuffix("\n")


def leads_to(request: Request, path: str, *names: str) -> bool:
    """Return True if a path matches the pattern of one of the given routes.

    :param path: the path below the application's mount point, without percent-encoding.
    :param names: keys of :data:`ROUTES`.
    """
    mapper = request.registry.getUtility(IRoutesMapper)
    return any(mapper.get_route(name).match(path) is not None for name in names)


def is_at(request: Request, *names: str) -> bool:
    """Return True if the path of a request matches one of the given routes.

    Tweens can call this function before Pyramid has set ``request.matched_route``.

    :param names: keys of :data:`ROUTES`.
    """
    return leads_to(request, path_of(request.environ), *names)


def includeme(config: Configurator) -> None:
    """Add the routes and the static files. :mod:`authapp.web.views` adds the views."""
    for name, path in ROUTES.items():
        config.add_route(name, path)
    config.add_static_view(STATIC, "authapp:static", cache_max_age=3600)
