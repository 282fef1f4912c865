"""The address from which a request comes, in one spelling.

Some proxies add a port to the address, or write an IPv6 address in brackets, and some servers pass
this on. This module removes ports and brackets. Otherwise one visitor would count as another
visitor with each new port (threat S8).
"""

import re

from pyramid.request import Request

_WITH_PORT = re.compile(r"\[([^]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""An IPv6 address in brackets, perhaps with a port, or an IPv4 address with a port."""


def client_address(request: Request) -> str:
    """Return the address of the browser or program that has sent a request.

    :returns: the address without brackets and port. Empty if the server does not know it.
    """
    address: str = request.remote_addr or ""
    rest: str = request.environ.get("REMOTE_PORT") or ""
    if ":" in address and rest and not rest.isdecimal():
        address = f"{address}:{rest}"  # waitress takes the end of ::ffff:192.0.2.1 as a port
    found = _WITH_PORT.fullmatch(address)
    return (found[1] or found[2]) if found else address
