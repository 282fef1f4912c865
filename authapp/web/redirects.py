"""Redirect targets. A user is only ever sent to a path on this site."""

import re
from urllib.parse import unquote, urlsplit

from pyramid.request import Request

from authapp.web.routes import leads_to

MAX_NEXT = 2048
"""The longest target that is followed, in characters."""

# A path starts with exactly one slash. White space, control characters, backslashes and non-ASCII
# characters are refused, because browsers drop or replace them before they look for a host.
_PATH = re.compile(r"\A/(?!/)[!-\[\]-~]*\Z")


def safe_next(request: Request, target: str | None) -> str:
    """Return the target if it is safe to redirect to, otherwise the application's root path.

    A safe target is a path on this site without the segments ``.`` and ``..``. It must not be the
    sign-in or sign-out page, because that would redirect in a circle.

    :param target: the value of ``next``. It may be any text.
    """
    home: str = request.script_name + "/"
    if not target or len(target) > MAX_NEXT or not _PATH.match(target):
        return home
    path = unquote(urlsplit(target).path)
    has_dots = not {".", ".."}.isdisjoint(path.split("/"))
    below = path.removeprefix(request.script_name).rstrip("/")
    is_circular = leads_to(request, below, "login", "logout")
    return home if has_dots or is_circular else target


def current_page(request: Request) -> str:
    """Return the path to come back to after signing in.

    For GET and HEAD this is the requested page. For other methods it is the page that the form
    was on (the ``Referer`` header), or the root path if that page is not on this site.
    """
    if request.method in ("GET", "HEAD"):
        return safe_next(request, request.path_qs)
    referrer = request.referrer or ""
    if not referrer.startswith(request.host_url + "/"):
        return safe_next(request, None)
    return safe_next(request, referrer[len(request.host_url) :])
