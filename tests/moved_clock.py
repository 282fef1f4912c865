"""A clock that a test can move. A site in a separate process adds it with ``pyramid.includes``."""

import time

import time_machine
from pyramid.config import Configurator
from pyramid.request import Request


def includeme(config: Configurator) -> None:
    """Add ``POST /clock?seconds=…``, which moves the time of the whole process forward."""
    travel = time_machine.travel(time.time(), tick=True)
    clock = travel.start()

    def move(request: Request) -> dict[str, float]:
        clock.shift(float(request.GET["seconds"]))
        return {"now": time.time()}

    config.add_route("clock", "/clock", request_method="POST")
    config.add_view(move, route_name="clock", renderer="json", require_csrf=False)
