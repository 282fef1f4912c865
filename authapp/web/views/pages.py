"""The start page and the admin page of the site (``egg:authapp``).

An application that includes authapp does not get these pages.
"""

from typing import Any

from pyramid.authorization import Allow, Everyone
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.view import view_config


class Root:
    """The root resource. Its ACL grants ``view`` to everyone and ``administer`` to admins."""

    __acl__ = ((Allow, Everyone, "view"), (Allow, "role:admin", "administer"))

    def __init__(self, request: Request) -> None:
        self.request = request


@view_config(route_name="home", permission="view", renderer="authapp:templates/home.jinja2")
def home(request: Request) -> dict[str, Any]:
    """Show the start page. All users may see the page, including anonymous users."""
    return {}


@view_config(route_name="admin", permission="administer", renderer="authapp:templates/admin.jinja2")
def admin(request: Request) -> dict[str, Any]:
    """Show the admin page. Only users with the role ``admin`` may see the page."""
    return {}


def includeme(config: Configurator) -> None:
    """Add the routes and views of the site."""
    config.set_root_factory(Root)
    config.add_route("home", "/")
    config.add_route("admin", "/admin")
    config.scan("authapp.web.views.pages")
