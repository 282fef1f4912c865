"""``GET /verify``: tells a proxy whether a request is signed in (contract section 11).

nginx asks with ``auth_request``, Caddy with ``forward_auth`` and Traefik with ForwardAuth. The
proxy sends the headers of the original request. docs/edge.md has the configuration of each proxy.

``/verify`` has no list of paths that need no sign-in. The configuration of the proxy decides for
which paths the proxy asks ``/verify``. So no header of a request can avoid the check.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from authapp.edge.identity_headers import names_user, names_user_or_address, plain
from authapp.renewal.outcomes import Renewed
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity
from authapp.settings.settings import settings_of
from authapp.web.redirects import allowed_url, is_htmx, safe_next
from authapp.web.request_session import RequestSession
from authapp.web.responses import (
    FORBIDDEN,
    problem,
    see_other,
    set_cookies,
    sign_in_problem,
    unavailable_problem,
    wants_page,
)
from authapp.web.routes import NAMESPACE, add_own_route

log = request_log(__name__)

HEADERS = ("User", "Email", "Preferred-Username", "Groups", "Access-Token")
"""The names of the headers of a response, without the prefix ``X-Auth-Request-``. Every response
has all of these headers. So a proxy that copies them replaces headers of the same names that a
client has sent."""

MAX_COOKIES = 6
"""How many headers ``?cookies=1`` adds to a response, each with one cookie. A session needs at most
three cookies, and the response may also clear three cookies of an earlier session."""

_NOT_FORGED = frozenset(
    f"HTTP_X_AUTH_REQUEST_{name.upper().replace('-', '_')}" for name in (*HEADERS, "Redirect")
)
"""The WSGI names of ``X-Auth-Request-`` headers that are not refused as forged. The proxy replaces
:data:`HEADERS`. ingress-nginx adds ``X-Auth-Request-Redirect`` to each request to ``/verify``."""

_MAY_BE_FORGED = ("HTTP_REMOTE", "HTTP_X")
"""A header can be forged only if its WSGI name begins with one of these."""

_PARAMETERS = {"roles", "scopes", "redirect", "cookies"}


def verify(request: Request) -> Response:
    """Return 202 if the request is signed in and allowed.

    The query may contain these parameters:

    - ``roles=a,b``: the user needs one of these roles. If the parameter is repeated, the user needs
      one role of each list.
    - ``scopes=a,b``: the user needs all of these scopes.
    - ``redirect=1``: for proxies that send every response except 202 on to the browser. If no user
      is signed in, a browser that opens a page gets 303 instead of 401.
    - ``cookies=1``: for proxies that cannot copy several ``Set-Cookie`` headers. Each cookie is
      returned in a header of its own, ``X-Auth-Request-Set-Cookie-1`` and so on. The response
      always has all :data:`MAX_COOKIES` headers.

    :returns: 202. If no user is signed in: 401 with ``Location``. If the user does not have the
        roles or scopes, if the query has another parameter, or if a header is forged: 403. If the
        session could not be renewed: 503.
    """
    identity: Identity | None = request.identity
    response = _refusal(request, identity)
    allowed = response is None
    if response is None:
        response = Response(status=202)
        response.headers.pop("Content-Type")
    values = _values(request, identity) if identity is not None and allowed else {}
    for name in HEADERS:
        response.headers[f"X-Auth-Request-{name}"] = values.get(name, "")
    response.cache_control = "no-store"
    _keep_successor(request)
    if request.GET.get("cookies") == "1":
        for number in range(1, MAX_COOKIES + 1):
            response.headers[f"X-Auth-Request-Set-Cookie-{number}"] = ""
        is_passed_on = not allowed and request.GET.get("redirect") == "1"
        if _is_from_proxy(request) and not is_passed_on:
            request.add_response_callback(_number_cookies)
    return response


def _keep_successor(request: Request) -> None:
    """Store the successor of an old cookie for one more hour.

    Some proxies cannot pass the renewed cookie on to the browser. The browser then continues to
    send the old cookie.
    """
    ours: RequestSession = request.authapp
    if ours.opened and ours.session and ours.opened.tokens != ours.session.tokens:
        services_of(request).successors.keep(ours.opened, Renewed(ours.session))


def _refusal(request: Request, identity: Identity | None) -> Response | None:
    """Return the response to a request that is not allowed, or None if the request is allowed."""
    forged = _forged_header(request.environ)
    if forged is not None:
        return _forbidden(request, f"a client must not send the header {forged}")
    if identity is None:
        return _not_signed_in(request)
    parameters = parse_qsl(request.query_string, keep_blank_values=True)
    unknown = {name for name, _ in parameters} - _PARAMETERS
    if unknown:
        return _forbidden(request, f"the query has parameters other than {sorted(_PARAMETERS)}")
    if not _meets(request.query_string, identity):
        return _forbidden(request, "the user does not have the roles or scopes of the query")
    if not _can_be_sent(str(identity.id)):
        return _forbidden(request, "the user's id cannot be sent in a header")
    return None


def _forged_header(environ: dict[str, Any]) -> str | None:
    """Return the name of a header by which a client could deceive an application, or None.

    :returns: the first 59 characters of the name, in the form that :func:`plain` returns.
    """
    for key in environ.get("authapp.underscored", ()):
        name = plain(key[5:64])
        if names_user_or_address(name):
            return name
    for key in environ:
        # A careful proxy sets such a header to an empty value.
        if key.startswith(_MAY_BE_FORGED) and environ[key] and _is_forged(key[:64]):
            return plain(key[5:64])
    return None


@lru_cache(1024)
def _is_forged(key: str) -> bool:
    """Return True if a header must come from a client that wants to deceive an application.

    - A header that names the user is forged.
    - A header with an address is forged only if its name has a separator that is not a hyphen.
      Proxies send ``X-Forwarded-For``, but no proxy adds or replaces ``X.Forwarded.For``.

    :param key: the WSGI name of the header. It must be short, because it is kept in a cache.
    """
    if key in _NOT_FORGED:
        return False
    name = plain(key[5:])
    has_hyphens = name == key[5:].lower().replace("_", "-")
    return names_user(name) if has_hyphens else names_user_or_address(name)


def _forbidden(request: Request, reason: str) -> Response:
    log.info("Forbidden: %s: %s", request.path[:256], reason)
    return problem(request, 403, "Forbidden", FORBIDDEN)


def _not_signed_in(request: Request) -> Response:
    code: ErrorCode | None = request.authapp.error
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        return unavailable_problem(request, request.authapp.retry_after)
    location = _login_url(request, code)
    if request.GET.get("redirect") == "1" and wants_page(request):
        return see_other(location)
    response = sign_in_problem(request, code, location)
    response.headers["Location"] = location
    return response


def _login_url(request: Request, code: ErrorCode | None) -> str:
    """Return the address of the sign-in page, with the original page as ``next``."""
    login = settings_of(request.registry).edge.login
    original = allowed_url(request, _original_page(request))
    if original is None:
        page = safe_next(request, None)
    elif login is None:
        page = safe_next(request, original.path)
    else:
        page = original.url
    query = {"next": page} | ({"reason": code.value} if code else {})
    return f"{login or request.route_path(NAMESPACE + 'login')}?{urlencode(query)}"


def _original_page(request: Request) -> str | None:
    """Return the URL of the page that the user asked for, as the proxy says.

    :returns: the URL, which a client may have forged. None if the proxy sends no URL or two
        different URLs, or if the original request is not GET or HEAD.
    """
    headers = request.headers
    if is_htmx(request):
        return str(headers.get("HX-Current-URL", ""))
    addresses = set()
    if "X-Original-URL" in headers:
        addresses.add(headers["X-Original-URL"])
    if "X-Forwarded-Uri" in headers:
        scheme = headers.get("X-Forwarded-Proto", request.scheme)
        host = headers.get("X-Forwarded-Host", request.host)
        addresses.add(f"{scheme}://{host}{headers['X-Forwarded-Uri']}")
    methods = {
        headers[name] for name in ("X-Forwarded-Method", "X-Original-Method") if name in headers
    }
    return addresses.pop() if len(addresses) == 1 and methods <= {"GET", "HEAD"} else None


def _meets(query: str, identity: Identity) -> bool:
    """Return True if a user has the roles and scopes that a query names.

    The query is split before it is decoded, so that ``%2C`` is a comma within a name.
    """
    rules: dict[str, tuple[Callable[[Iterable[bool]], bool], tuple[str, ...]]] = {
        "roles": (any, identity.roles),
        "scopes": (all, identity.scopes),
    }
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) in rules:
            enough, held = rules[unquote_plus(name)]
            if not enough(unquote_plus(each) in held for each in value.split(",")):
                return False
    return True


def _values(request: Request, identity: Identity) -> dict[str, str]:
    """Return the values of the ``X-Auth-Request-`` headers, without values that cannot be sent.

    ``Groups`` has the roles, separated by commas. A role with a comma is left out, because it would
    be read as two roles.
    """
    values = {
        "User": str(identity.id),
        "Email": identity.email or "",
        "Preferred-Username": identity.name or "",
        "Groups": ",".join(
            role for role in identity.roles if "," not in role and _can_be_sent(role)
        ),
    }
    if services_of(request).settings.edge.token and _is_from_proxy(request):
        values["Access-Token"] = request.authapp.session.tokens.access
    # The strings of WSGI headers are bytes decoded as latin-1 (PEP 3333).
    return {
        name: value.encode(errors="replace").decode("latin-1")
        for name, value in values.items()
        if _can_be_sent(value)
    }


def _can_be_sent(value: str) -> bool:
    """Return True if a header carries a value unchanged (RFC 9110 section 5.5)."""
    return value == value.strip() and not any(each < " " or each == "\x7f" for each in value)


def _is_from_proxy(request: Request) -> bool:
    """Return True if a proxy has sent the request, and not a browser itself.

    Browsers send ``Sec-Fetch-Site``, and the proxy configurations in docs/edge.md remove this
    header. Only a proxy gets tokens and cookies in ``X-Auth-Request-`` headers: if a script on a
    page could ask ``/verify`` itself, it could read these headers.
    """
    return "Sec-Fetch-Site" not in request.headers


def _number_cookies(request: Request, response: Response) -> None:
    """Move each ``Set-Cookie`` header to a header ``X-Auth-Request-Set-Cookie-<number>``."""
    cookies = response.headers.getall("Set-Cookie")
    set_cookies(response, ())
    # Cookies with a value come first. If there are too many, only the clearing of old ones is lost.
    for number, cookie in enumerate(sorted(cookies, key=_clears)[:MAX_COOKIES], 1):
        response.headers[f"X-Auth-Request-Set-Cookie-{number}"] = cookie


def _clears(cookie: str) -> bool:
    return "max-age=0;" in cookie.lower()


def includeme(config: Configurator) -> None:
    """Add ``/verify``, unless ``authapp.routes.verify`` is ``none``."""
    if add_own_route(config, "verify"):
        config.add_view(
            verify,
            route_name=NAMESPACE + "verify",
            request_method="GET",
            permission=NO_PERMISSION_REQUIRED,
        )
