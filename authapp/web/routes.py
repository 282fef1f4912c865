"""authapp's own routes: what they are called, and where they are."""

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
"""Name -> path, below the application's ``route_prefix``; contract section 4."""

STATIC = "authapp-static"
"""Where the stylesheet and the scripts are."""


def path_of(environ: dict[str, Any]) -> str:
    """The path of a request, as Pyramid's router sees it.

    A route's pattern also matches a path with a line feed behind it, so that is dropped.

    :param environ: of PEP 3333, whose texts are bytes in latin-1.
    :returns: the path below the application's mount point; what is not UTF-8 is replaced.
    """
    path: str = environ.get("PATH_INFO") or "/"
    return path.encode("latin-1").decode(errors="replace").removesuffix("\n")


def leads_to(request: Request, path: str, *names: str) -> bool:
    """Whether Pyramid's own matcher finds one of these routes of ours at a path.

    :param path: without quoting, below the application's mount point.
    """
    mapper = request.registry.getUtility(IRoutesMapper)
    return any(mapper.get_route(name).match(path) is not None for name in names)


def is_at(request: Request, *names: str) -> bool:
    """Whether a request goes to one of these routes. It may be asked before routing."""
    return leads_to(request, path_of(request.environ), *names)


def includeme(config: Configurator) -> None:
    """Add them; their views are in :mod:`authapp.web.views`."""
    for name, path in ROUTES.items():
        config.add_route(name, path)
    config.add_static_view(STATIC, "authapp:static", cache_max_age=3600)
