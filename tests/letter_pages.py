"""Pages of an application, which a site in a browser test adds with ``pyramid.includes``."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPServiceUnavailable
from pyramid.request import Request
from pyramid.response import Response

ALONE = """<!doctype html><html lang="en"><title>Alone</title>
<link rel="icon" href="/authapp-static/icon.svg">
<script type="module" src="/alone.js"></script>"""
HOSTILE = """<!doctype html><html lang="en"><title>Hostile</title>
<link rel="icon" href="/authapp-static/icon.svg">
<body><p>What another user has written:</p>{content}
<script type="module" src="/alone.js"></script>
<script type="module" src="/authapp-static/page.js"></script>"""
SCRIPT = """import { watchSession } from "/authapp-static/session.js";
window.authapp = watchSession();"""


def private(request: Request) -> dict[str, Any]:
    """Show a page to signed-in users only."""
    if request.identity is None:
        raise HTTPForbidden()
    return {}


def sent(request: Request) -> Response:
    """Show that a letter was sent. The user must have signed in recently."""
    return Response(f"Sent: {request.POST['title']}")


def cached(request: Request) -> dict[str, Any]:
    """Show a page that browsers may cache for ten minutes."""
    request.response.headers["Cache-Control"] = "private, max-age=600"
    return {}


def unavailable(request: Request) -> Response:
    """Raise ``HTTPServiceUnavailable``."""
    raise HTTPServiceUnavailable()


def alone(request: Request) -> Response:
    """Show a page of the application that uses only the script ``session.js`` of authapp."""
    return Response(ALONE)


def hostile(request: Request) -> Response:
    """Show a page with HTML that another user has written. The page itself loads ``session.js``
    and ``page.js``."""
    return Response(HOSTILE.format(content=request.GET["content"]))


def script(request: Request) -> Response:
    """Return the script ``alone.js``, which both pages above load."""
    return Response(SCRIPT, content_type="text/javascript")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    names = "confirm form cached api/me unavailable alone alone.js hostile"
    for name in names.split():
        config.add_route(name, f"/{name}")
    config.include("pyramid_jinja2")
    config.add_view(private, route_name="form", renderer="letter_pages:letter_pages.jinja2")
    letter = {"route_name": "confirm", "renderer": "letter_pages:letter_pages.jinja2"}
    config.add_view(private, request_method="GET", **letter)
    config.add_view(sent, route_name="confirm", request_method="POST", recent_auth=4)
    config.add_view(private, route_name="api/me", renderer="json")
    config.add_view(cached, route_name="cached", renderer="letter_pages:letter_pages.jinja2")
    config.add_view(unavailable, route_name="unavailable")
    config.add_view(alone, route_name="alone")
    config.add_view(hostile, route_name="hostile")
    config.add_view(script, route_name="alone.js")
