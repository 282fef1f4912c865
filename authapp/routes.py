"""authapp's own routes: what they are called, and where they are."""

from pyramid.config import Configurator

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


def includeme(config: Configurator) -> None:
    """Add them; their views are in :mod:`authapp.views`."""
    for name, path in ROUTES.items():
        config.add_route(name, path)
    config.add_static_view(STATIC, "authapp:static", cache_max_age=3600)
