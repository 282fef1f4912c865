"""Decides where a browser may be redirected: to a path on this site, or to an allowed host.

The allowed hosts are those in ``authapp.verify.hosts``.
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from pyramid.request import Request

from authapp.settings.settings import ISettings, Settings
from authapp.web.routes import SIGN_IN, leads_to

MAX_NEXT = 2048
"""The maximum length of a redirect target, in characters."""

_CIRCULAR = (*SIGN_IN, "logout")
"""Routes to which ``next`` must not lead. A sign-in page would redirect a signed-in user again, and
nobody wants to sign out right after a sign-in."""

# A path that names no other host when a browser reads it. It starts with exactly one slash. White
# space, control characters and non-ASCII characters are not allowed, because browsers remove or
# replace them. A backslash is allowed only in the query and the fragment, because in the path,
# browsers read it as a slash.
_PATH = re.compile(r"\A/(?!/)[!\"$->@-\[\]-~]*([?#][!-~]*)?\Z")

_TO_ENCODE = re.compile(r"[ \u0080-\U0010ffff]+")

_URL = re.compile(r"(https?)://([A-Za-z0-9.:-]+)(/[!-\[\]-~]*)?")


def safe_next(request: Request, target: str | None) -> str:
    """Return the target if it is safe to redirect to, otherwise the application's root path.

    - A path on this site is safe if it has no segment ``.`` or ``..``, and is not the path of a
      sign-in page or the sign-out page (:data:`_CIRCULAR`).
    - A URL is safe if :func:`allowed_url` allows it.

    :param target: the value of ``next``. A client can send any string.
    :returns: a URL, or a path with its query. In a path and its query, spaces and printable
        non-ASCII characters are percent-encoded (RFC 3987 section 3.1).
    """
    home: str = request.script_name + "/"
    if allowed := allowed_url(request, target):
        return allowed.url
    target = _TO_ENCODE.sub(_encode, target or "")
    if not _is_plain_path(target):
        return home
    below = unquote(urlsplit(target).path).removeprefix(request.script_name).rstrip("/")
    return home if leads_to(request, below, *_CIRCULAR) else target


def _encode(found: re.Match[str]) -> str:
    """Percent-encode the matched characters if all of them are printable.

    A surrogate or U+3000, for example, is not printable, and is returned unchanged.
    """
    return quote(found[0]) if found[0].isprintable() else found[0]


class AllowedURL(NamedTuple):
    """A URL of another host to which a user may return.

    :ivar url: the whole URL.
    :ivar path: its path, with the query.
    """

    url: str
    path: str


def allowed_url(request: Request, url: str | None) -> AllowedURL | None:
    """Return a URL if a user may return to it after a sign-in.

    ``authapp.verify.hosts`` must contain the URL's host. The scheme must be https. In development,
    http is allowed too.

    :param url: a client can send any string.
    :returns: the URL. None if the URL is not allowed.
    """
    settings: Settings | None = request.registry.queryUtility(ISettings)
    match = _URL.fullmatch(url or "")
    if settings is None or match is None:
        return None
    scheme, host, path = match[1], match[2].lower(), match[3] or "/"
    allowed = host in settings.edge.hosts and (scheme == "https" or settings.development)
    if not allowed or not _is_plain_path(path):
        return None
    return AllowedURL(f"{scheme}://{host}{path}", path)


def _is_plain_path(target: str) -> bool:
    """Return True if a target is a path on this site without a segment ``.`` or ``..``.

    The path may have a query.
    """
    if len(target) > MAX_NEXT or not _PATH.match(target):
        return False
    return {".", ".."}.isdisjoint(unquote(urlsplit(target).path).split("/"))


def current_page(request: Request) -> str:
    """Return the path of the page to which the user returns after signing in.

    - For a request of the library htmx, this is the page that sent the request, because such a
      request gets only a part of a page.
    - For GET and HEAD, this is the path and query of the request.
    - For other methods, this is the page with the form: see :func:`referring_page`.
    """
    if is_htmx(request):
        return safe_next(request, _path_and_query(request.headers.get("HX-Current-URL", "")))
    if request.method in ("GET", "HEAD"):
        return safe_next(request, request.path_qs)
    return referring_page(request)


def referring_page(request: Request) -> str:
    """Return the path of the page that sent this request, from the ``Referer`` header.

    :returns: the path and query. The application's root path if there is no ``Referer``, or if the
        page is on another site or is not safe (:func:`safe_next`).
    """
    referrer = request.referrer or ""
    if not referrer.startswith(request.host_url + "/"):
        return safe_next(request, None)
    return safe_next(request, referrer[len(request.host_url) :])


def is_htmx(request: Request) -> bool:
    """Return True if the library htmx sent the request, with the header ``HX-Request: true``."""
    return bool(request.headers.get("HX-Request", "").lower() == "true")


def _path_and_query(url: str) -> str | None:
    """Return the path and query of a URL, or None if the URL cannot be parsed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
