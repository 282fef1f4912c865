"""A page that loads a part of itself with htmx. A site adds it with ``pyramid.includes``."""

from pathlib import Path

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response

VENDOR = Path(__file__).parent / "browser/vendor"
PAGE = """<!doctype html><title>Orders</title>
<script src="/htmx-files/htmx-{version}.min.js"></script>
<button hx-get="/part" hx-target="#part">Show</button>
<div id="part">nothing yet</div>"""


def page(request: Request) -> Response:
    return Response(PAGE.format(version=request.matchdict["version"]))


def part(request: Request) -> Response:
    if request.identity is None:
        raise HTTPForbidden()
    return Response(f"Hello {request.identity.name}")


def includeme(config: Configurator) -> None:
    """Add the pages ``/orders/{version}`` and ``/part``."""
    config.add_static_view("htmx-files", str(VENDOR))
    config.add_route("orders", "/orders/{version}")
    config.add_view(page, route_name="orders")
    config.add_route("part", "/part")
    config.add_view(part, route_name="part")
