"""The bare page of the benchmarks in Pyramid. It has a template and an ACL, and no database."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyramid.authorization import Allow, Authenticated
from pyramid.config import Configurator
from pyramid.request import Request

TEMPLATES = Path(__file__).parent / "templates"
VALUES = {"title": "Orders", "orders": [("bread", 1), ("butter", 2), ("milk", 3), ("tea", 4)]}

Include = Callable[[Configurator], None]


class Root:
    """The root resource. Only signed-in users may view the page."""

    __acl__ = ((Allow, Authenticated, "read"),)

    def __init__(self, request: Request) -> None:
        pass


def page(request: Request) -> dict[str, Any]:
    return {**VALUES, "name": request.authenticated_userid or "nobody"}


BY_NAME, BY_SPECIFICATION = "page.jinja2", "benchmarks:templates/page.jinja2"
"""The same template, by its name and by its asset specification. If a view uses the name,
pyramid_jinja2 searches for the template in each request."""


def pyramid_page(
    include: Include = lambda config: None, renderer: str = BY_NAME, **settings: str
) -> Any:
    """Return an application that has only the bare page.

    :param include: a function that adds more to the application, such as authapp.
    """
    with Configurator(settings=settings, root_factory=Root) as config:
        config.include("pyramid_jinja2")
        config.add_jinja2_search_path(str(TEMPLATES))
        include(config)
        config.add_route("page", "/page")
        config.add_view(page, route_name="page", permission="read", renderer=renderer)
        return config.make_wsgi_app()
