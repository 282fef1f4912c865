"""The start page and the admin page of the site (``egg:authapp``).

An application that includes authapp does not get these pages.
"""

from typing import Any

from pyramid.authorization import Allow, Everyone
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.web.routes import add_own_route


class Root:
    """The root resource. Its ACL grants ``view`` to everyone and ``administer`` to admins."""

    __acl__ = ((Allow, Everyone, "view"), (Allow, "role:admin", "administer"))

    def __init__(self, request: Request) -> None:
        self.request = request


def home(request: Request) -> dict[str, Any]:
    """Show the start page. Everyone may see the page, also without signing in."""
    return {}


def admin(request: Request) -> dict[str, Any]:
    """Show the admin page. Only users with the role ``admin`` may see the page."""
    return {}


def includeme(config: Configurator) -> None:
    """Add the routes and views of the site."""
    config.set_root_factory(Root)
    for name, view, permission in (("home", home, "view"), ("admin", admin, "administer")):
        if add_own_route(config, name):
            config.add_view(
                view,
                route_name=f"authapp.{name}",
                request_method="GET",
                permission=permission,
                renderer=f"authapp:templates/{name}.jinja2",
            )
