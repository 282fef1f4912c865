"""Pages that take long, for a site in a separate process (``pyramid.includes``)."""

import time
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request


def hold(request: Request) -> dict[str, Any]:
    """Return the user. With ``?once=1``, first create a file, and wait until a test has deleted it.

    The wait takes 30 seconds at most. If the file exists already, there is no wait.
    """
    file = Path(request.registry.settings["tests.hold"])
    if file.parent.exists() and request.GET.get("once") and not file.exists():
        file.touch()
        give_up = time.monotonic() + 30
        while file.exists() and time.monotonic() < give_up:
            time.sleep(0.01)
    return {"user": request.authenticated_userid}


def tenth(request: Request) -> dict[str, Any]:
    """Respond after a tenth of a second."""
    time.sleep(0.1)
    return {}


def includeme(config: Configurator) -> None:
    """Add the pages ``/hold`` and ``/tenth``."""
    config.add_route("tenth", "/tenth")
    config.add_view(tenth, route_name="tenth", renderer="json")
    config.add_route("hold", "/hold")
    config.add_view(hold, route_name="hold", renderer="json")
