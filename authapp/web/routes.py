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
"""The path of the stylesheet and the scripts, below the same prefix."""


def path_of(environ: dict[str, Any]) -> str:
    """Return the path of a request as Pyramid's router sees it.

    A line feed at the end is dropped, because route patterns also match a path that has one.

    :param environ: the WSGI environ (PEP 3333), whose strings are bytes decoded as latin-1.
    :returns: the path below the application's mount point. Bytes that are not UTF-8 are replaced.
    """
    path: str = environ.get("PATH_INFO") or "/"
    return path.encode("latin-1").decode(errors="replace").removesuffix("\n")


def leads_to(request: Request, path: str, *names: str) -> bool:
    """Whether a path belongs to one of these routes, according to Pyramid's own matcher.

    :param path: the path below the application's mount point, without percent-encoding.
    :param names: names of :data:`ROUTES`.
    """
    mapper = request.registry.getUtility(IRoutesMapper)
    return any(mapper.get_route(name).match(path) is not None for name in names)


def is_at(request: Request, *names: str) -> bool:
    """Whether a request goes to one of these routes. This also works before routing."""
    return leads_to(request, path_of(request.environ), *names)


def includeme(config: Configurator) -> None:
    """Add the routes and the static files. The views are in :mod:`authapp.web.views`."""
    for name, path in ROUTES.items():
        config.add_route(name, path)
    config.add_static_view(STATIC, "authapp:static", cache_max_age=3600)
