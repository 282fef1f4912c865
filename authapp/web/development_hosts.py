"""In development, answer only requests that are addressed to this machine.

A development site shows more than a stranger may see: passwords of its users on the sign-in
page, a debug toolbar. A page of any site can reach it by DNS rebinding: the name in the
``Host`` header is then the stranger's. So a host that is neither a loopback address nor
named in ``authapp.development.hosts`` gets 400.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Collection

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS, MAIN

from authapp.services import IServices

log = logging.getLogger(__name__)

_TOOLBAR = "pyramid_debugtoolbar.toolbar_tween_factory"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def is_allowed(host: str, named: Collection[str] = ()) -> bool:
    """Whether a ``Host`` header addresses this machine.

    :param host: the header's value (RFC 9110 section 7.2): any text.
    :param named: host names that are allowed beside the loopback ones, in lower case.
    """
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match[1].strip("[]").removesuffix(".")
    if name in named or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def development_hosts_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """The tween that refuses other hosts; outside ``development`` there is none."""
    settings = registry.getUtility(IServices).settings

    def development_hosts_tween(request: Request) -> Response:
        # A browser always sends the header, so a request without one comes from a program.
        host: str | None = request.environ.get("HTTP_HOST")
        if host is None or is_allowed(host, settings.development_hosts):
            return handler(request)
        log.warning("UnknownHost: %r; authapp.development.hosts can allow it", host[:256])
        text = (
            "This development site answers to localhost only.\n"
            "To open it under another name, add that name to authapp.development.hosts\n"
            "in the ini file.\n"
        )
        return Response(text, status=400, content_type="text/plain")

    return development_hosts_tween if settings.development else handler


def includeme(config: Configurator) -> None:
    """Put the tween outside the debug toolbar, which answers requests itself."""
    config.add_tween(
        "authapp.web.development_hosts.development_hosts_tween_factory",
        under=INGRESS,
        over=(_TOOLBAR, MAIN),
    )
