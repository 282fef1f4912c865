"""Gives each request an id, which is in the log lines about the request, and in the response.

The response has the id in the header ``X-Request-ID``.
"""

from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.request_log import name_lines


def request_id_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return the tween that gives each request an id.

    If a proxy has sent an id in ``X-Request-ID``, that id is kept.
    """

    def request_id_tween(request: Request) -> Response:
        end = name_lines(request.request_id)
        # Remove the id at the end of the request and not here, because response callbacks run after
        # the tweens, and log lines of theirs need the id too.
        request.add_finished_callback(lambda request: end())
        response = handler(request)
        response.headers["X-Request-ID"] = request.request_id
        return response

    return request_id_tween


def includeme(config: Configurator) -> None:
    """Add the tween outside all other tweens."""
    config.add_tween("authapp.web.request_ids.request_id_tween_factory", under=INGRESS)
