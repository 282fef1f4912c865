"""authapp's own routes: what they are called, and where they are."""

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from pyramid.config import Configurator
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


def is_of(request: Request, path: bytes, names: Iterable[str]) -> bool:
    """Whether a path, without quoting, is that of one of these routes of the application.

    :param path: in UTF-8, with the application's mount point.
    """
    # Pyramid quotes a route's path, but not the mount point in front of it.
    return path in [unquote_to_bytes(request.route_path(name)) for name in names]


def is_at(request: Request, *names: str) -> bool:
    """Whether a request goes to one of these routes, which is asked before it is routed."""
    mount, path = request.environ.get("SCRIPT_NAME", ""), request.environ.get("PATH_INFO", "")
    return is_of(request, (mount + path).encode("latin-1"), names)  # as PEP 3333 has them


def includeme(config: Configurator) -> None:
    """Add them; their views are in :mod:`authapp.views`."""
    for name, path in ROUTES.items():
        config.add_route(name, path)
    config.add_static_view(STATIC, "authapp:static", cache_max_age=3600)
