"""The views of authapp: sign-in, sign-out, session, account, sessions, health check and errors."""

from pyramid.config import Configurator

from authapp.web.routes import add_own_route, add_route_below
from authapp.web.views.errors import Readable

_MODULES = {
    "account": "account",
    "account_sessions": "account_sessions",
    "health": "health",
    "login": "sign_in",
    "login_challenge": "second_step",
    "logout": "sign_out",
    "session": "session",
    "sessions": "session_list_json",
}
"""Name of a route -> name of the module with the views of the route."""


def includeme(config: Configurator) -> None:
    """Add the routes and views that every application with authapp gets.

    The start page and the admin page are not among them. Only the site ``egg:authapp`` has these
    pages: see :mod:`authapp.web.views.pages`.
    """
    config.add_view_predicate("authapp_readable", Readable)
    config.scan("authapp.web.views.errors")
    add_route_below(config, "sessions", "session_by_id", "/{id}")
    for route, module in _MODULES.items():
        if add_own_route(config, route):
            config.scan(f"authapp.web.views.{module}")
