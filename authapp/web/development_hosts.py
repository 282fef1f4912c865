"""In development, refuses requests whose ``Host`` header does not name this machine.

A development site shows secrets, such as the passwords of the users on its sign-in page. An
attacker's page can read the development site by DNS rebinding: the DNS then gives the address of
this machine for the attacker's host name, and ``Host`` contains that name. So a request gets 400,
unless its host is a loopback name, a loopback address or an entry of ``authapp.development.hosts``.
"""

import ipaddress
import re
from collections.abc import Callable, Collection

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS, MAIN

from authapp.request_log import request_log
from authapp.services import IServices

log = request_log(__name__)

_TOOLBAR = "pyramid_debugtoolbar.toolbar_tween_factory"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def is_allowed(host: str, named: Collection[str] = ()) -> bool:
    """Return True if a ``Host`` header names this machine.

    :param host: the value of the header (RFC 9110 section 7.2). A client can send any string.
    :param named: other host names that are allowed too, in lower case.
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
    """Return the tween that refuses requests whose ``Host`` is not allowed.

    :returns: the tween, or ``handler`` itself if ``authapp.development`` is false.
    """
    settings = registry.getUtility(IServices).settings

    def development_hosts_tween(request: Request) -> Response:
        # Browsers always send ``Host``. So a request without this header comes from a program.
        host: str | None = request.environ.get("HTTP_HOST")
        if host is None or is_allowed(host, settings.development_hosts):
            return handler(request)
        log.warning(
            "UnknownHost: %r. To allow this host, add it to authapp.development.hosts", host[:256]
        )
        text = (
            "This development site accepts requests for localhost only.\n"
            "To open the site under another name, add that name to authapp.development.hosts\n"
            "in the ini file.\n"
        )
        return Response(text, status=400, content_type="text/plain")

    return development_hosts_tween if settings.development else handler


def includeme(config: Configurator) -> None:
    """Add the tween outside the tween of the debug toolbar.

    The toolbar responds to some requests itself, and these requests must be checked too.
    """
    config.add_tween(
        "authapp.web.development_hosts.development_hosts_tween_factory",
        under=INGRESS,
        over=(_TOOLBAR, MAIN),
    )
