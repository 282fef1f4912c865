"""Where somebody may be sent: only to paths on this site."""

import re
from urllib.parse import unquote, urlsplit

from pyramid.request import Request

from authapp.web.routes import leads_to

MAX_NEXT = 2048
"""Characters of the longest address to come back to."""

# One slash, and nothing a browser would drop, turn or resolve before it looks for a host:
# no second slash, backslash, white space, control or non-ASCII character.
_PATH = re.compile(r"\A/(?!/)[!-\[\]-~]*\Z")


def safe_next(request: Request, target: str | None) -> str:
    """The target if it is a path on this site, else ``/``.

    :param target: what came in as ``next``: any text.
    """
    home: str = request.script_name + "/"
    if not target or len(target) > MAX_NEXT or not _PATH.match(target):
        return home
    path = unquote(urlsplit(target).path)
    astray = not {".", ".."}.isdisjoint(path.split("/"))
    below = path.removeprefix(request.script_name).rstrip("/")
    in_circles = leads_to(request, below, "login", "logout")
    return home if astray or in_circles else target


def current_page(request: Request) -> str:
    """Where to come back to after signing in: this page, or the one a form stood on."""
    if request.method in ("GET", "HEAD"):
        return safe_next(request, request.path_qs)
    referrer = request.referrer or ""
    if not referrer.startswith(request.host_url + "/"):
        return safe_next(request, None)
    return safe_next(request, referrer[len(request.host_url) :])
