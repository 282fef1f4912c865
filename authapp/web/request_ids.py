"""Gives each request an id. The response has the id in the header ``X-Request-ID``.

Log lines about the request contain the id too: see :mod:`authapp.request_log`.
"""

import os
import re
from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from authapp.request_log import name_lines
from authapp.web.retried_requests import once


def request_id(request: Request) -> str:
    """Return an id for a request. Pyramid calls this once, for ``request.authapp_request_id``.

    :returns: the value of the ``X-Request-ID`` header, if it has at most 64 characters and consists
        of ``A-Z a-z 0-9 . _ -``. Otherwise a random id.
    """
    given: str = request.environ.get("HTTP_X_REQUEST_ID", "")
    if given and re.fullmatch("[A-Za-z0-9._-]{1,64}", given):
        return given
    return once(request, "request id", lambda: os.urandom(16).hex())


def request_id_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return the tween that gives each request an id.

    If a proxy has sent an id in ``X-Request-ID``, that id is kept.
    """

    def request_id_tween(request: Request) -> Response:
        end = name_lines(request.authapp_request_id)
        # Response callbacks run after all tweens, and their log lines need the id too. So the id is
        # removed by a finished callback, which runs after the response callbacks.
        request.add_finished_callback(lambda request: end())
        response = handler(request)
        response.headers["X-Request-ID"] = request.authapp_request_id
        return response

    return request_id_tween


def includeme(config: Configurator) -> None:
    """Add the tween outside all tweens that write log lines."""
    config.add_tween("authapp.web.request_ids.request_id_tween_factory", under=INGRESS)
