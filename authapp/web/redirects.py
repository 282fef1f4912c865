"""Redirect targets: paths on this site, and URLs whose host is in ``authapp.verify.hosts``."""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pyramid.request import Request

from authapp.settings.settings import ISettings, Settings
from authapp.web.routes import leads_to

MAX_NEXT = 2048
"""The maximum length of a redirect target, in characters."""

_CIRCULAR = ("login", "login_challenge", "login_oidc", "login_oidc_callback", "logout")
"""Routes to which ``next`` must not lead. The sign-in pages would only redirect the user again. The
sign-out page is not a useful page after a sign-in."""

# A path starts with exactly one slash. White space, control characters and non-ASCII characters are
# refused, because browsers remove or replace these characters before they parse the URL. The
# changed URL could name another host. Browsers read a backslash in the path as a slash. In the
# query or the fragment, a backslash has no special meaning.
_PATH = re.compile(r"\A/(?!/)[!\"$->@-\[\]-~]*([?#][!-~]*)?\Z")

_URL = re.compile(r"(https?)://([A-Za-z0-9.:-]+)(/[!-\[\]-~]*)?")


def safe_next(request: Request, target: str | None) -> str:
    """Return the target if it is safe to redirect to, otherwise the application's root path.

    A safe target is a path on this site without the segments ``.`` and ``..``. The sign-in pages
    and the sign-out page are not safe targets: see :data:`_CIRCULAR`. A URL is safe if
    ``authapp.verify.hosts`` names its host.

    :param target: the value of ``next``. A client can send any string.
    :returns: a path, with a query if the target has a query; or a URL.
    """
    home: str = request.script_name + "/"
    if allowed := allowed_url(request, target):
        return allowed.url
    if not target or not _is_plain_path(target):
        return home
    below = unquote(urlsplit(target).path).removeprefix(request.script_name).rstrip("/")
    return home if leads_to(request, below, *_CIRCULAR) else target


class AllowedURL(NamedTuple):
    """A URL to which a user may return: the whole URL, and its path with the query."""

    url: str
    path: str


def allowed_url(request: Request, url: str | None) -> AllowedURL | None:
    """Return a URL if ``authapp.verify.hosts`` names its host, otherwise None.

    The scheme must be https. In development, http is allowed too.

    :param url: any string. A client may have forged it.
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
    """Return True if a target is a path, with or without a query, and has no ``.`` and ``..``."""
    if len(target) > MAX_NEXT or not _PATH.match(target):
        return False
    return {".", ".."}.isdisjoint(unquote(urlsplit(target).path).split("/"))


def current_page(request: Request) -> str:
    """Return the path to which the user returns after signing in.

    - For a request of htmx, return the path and query of the page that sent the request. The
      request itself returns a part of a page only.
    - For GET and HEAD, return the path and query of the request.
    - For other methods, return the path of the page with the form: see :func:`referring_page`.
    """
    if is_htmx(request):
        return safe_next(request, _path_and_query(request.headers.get("HX-Current-URL", "")))
    if request.method in ("GET", "HEAD"):
        return safe_next(request, request.path_qs)
    return referring_page(request)


def referring_page(request: Request) -> str:
    """Return the path of the page that led to this request (the ``Referer`` header).

    :returns: the path and query. The application's root path if there is no ``Referer``, if that
        page is on another site, or if :func:`safe_next` refuses it (the sign-in page, for example).
    """
    referrer = request.referrer or ""
    if not referrer.startswith(request.host_url + "/"):
        return safe_next(request, None)
    return safe_next(request, referrer[len(request.host_url) :])


def is_htmx(request: Request) -> bool:
    """Return True if htmx sent the request: it has the header ``HX-Request: true``."""
    return bool(request.headers.get("HX-Request", "").lower() == "true")


def _path_and_query(url: str) -> str | None:
    """Return the path and query of a URL, or None if the URL cannot be parsed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
