"""The proxy passes requests on to an API, with the user's access token (contract section 11).

The browser has the session cookie, and the API gets the access token. The bodies of the request and
of the response are streamed.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pyramid.config import Configurator
from pyramid.csrf import check_csrf_token
from pyramid.i18n import TranslationStringFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from authapp.edge.identity_headers import names_user_or_address, plain
from authapp.edge.returned_headers import is_returned
from authapp.edge.upstream import Answer, ClientGone, RequestBody, Upstream, UpstreamAway
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.error_codes import BAD_REQUEST_SENTENCE, RETRY_AFTER, ErrorCode
from authapp.session.session import TokenPair
from authapp.settings.settings import settings_of
from authapp.web.caching import directives
from authapp.web.client_address import client_address
from authapp.web.cookie_writer import write_to_response
from authapp.web.request_session import RequestSession, renew_session
from authapp.web.responses import (
    LocationAsWritten,
    problem,
    sign_in_problem,
    sign_in_required,
    unavailable_problem,
)
from authapp.web.routes import PASSED_ON
from authapp.web.user_token import authorization, has_dot_segment, is_refused, record_refused
from authapp.web.views.errors import STALE_FORM

log = request_log(__name__)
_ = TranslationStringFactory("authapp")

_NO_UPGRADE = _("WebSockets do not work through this address. Connect to the service directly.")
_NO_METHOD = _("This method is not allowed here.")

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that concern one connection only (RFC 9110 section 7.6.1). The proxy never passes them
on."""

_NOT_SENT = HOP_BY_HOP | {
    "authorization",
    "cf-connecting-ip",
    "content-length",
    "cookie",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "host",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-csrf-token",
}
"""The names (from :func:`plain`) of request headers that the proxy does not pass on to the API.
Among them are cookies, headers that concern one connection only, and headers with the address of
the user. The proxy also drops every header for which :func:`names_user_or_address` is True."""

_SAYS_FOR_WHOM = frozenset(("public", "s-maxage=", "no-store", "private"))
"""The directives of ``Cache-Control`` that say whether shared caches may store the response."""

_IN_PATH = "/:@!$&'()*+,;=~"
_IN_QUERY = _IN_PATH + "%?[]{}|^`\\"
"""The characters of a path and of a query that the proxy passes on without encoding them."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_REFUSED = ("CONNECT", "TRACE")

View = Callable[[Request], Response]


def proxy_view(upstream: Upstream, prefix: str) -> View:
    """Return the view that passes requests on to an API.

    :param prefix: the path of the API on this site.
    """

    def proxy(request: Request) -> Response:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        path = _path(request, prefix)
        if path is None:
            return problem(request, 400, "BadRequest", BAD_REQUEST_SENTENCE)
        try:
            answer = _send(request, upstream, path)
        except UpstreamAway as away:
            log.warning("UpstreamAway: %s: %s", prefix, away)
            return unavailable_problem(request, RETRY_AFTER)
        except ClientGone:  # nobody gets this response
            return unavailable_problem(request, RETRY_AFTER)
        except ValueError:  # a header that cannot be sent
            return problem(request, 400, "BadRequest", BAD_REQUEST_SENTENCE)
        return answer if isinstance(answer, Response) else _response(answer, upstream, prefix)

    return proxy


def _refusal(request: Request) -> Response | None:
    """Return the response to a request that is not passed on. None if the request is passed on."""
    if "websocket" in request.headers.get("Upgrade", "").lower():
        return problem(request, 501, "UpgradeNotSupported", _NO_UPGRADE)
    if request.method in _REFUSED:
        return problem(request, 405, "MethodNotAllowed", _NO_METHOD)
    if request.content_length is None and "Transfer-Encoding" in request.headers:
        return problem(request, 411, "LengthRequired", BAD_REQUEST_SENTENCE)
    if request.identity is None:
        if request.authapp.error is ErrorCode.BACKEND_UNAVAILABLE:
            return unavailable_problem(request, request.authapp.retry_after)
        return sign_in_required(request, request.authapp.error)
    # The CSRF token must be in a header, because the body is passed on unread.
    if request.method not in _SAFE and not check_csrf_token(request, None, raises=False):
        log.warning("BadCSRFToken: %s %s", request.method, request.path[:256])
        return problem(request, 403, "BadCSRFToken", STALE_FORM)
    return None


def _send(request: Request, upstream: Upstream, path: str) -> Answer | Response:
    """Send a request. If the API returns 401, renew the session and send the request again.

    The request is not sent again if it has no session, if its body cannot be read again, or if the
    API has refused the access token of a renewal that was just made.

    :returns: the response of the API, which may still be the 401. If no user is signed in after the
        renewal, a 401 or 503 of this site.
    """
    ours: RequestSession = request.authapp
    length = request.content_length or 0
    body = RequestBody(request.environ["wsgi.input"], length) if length else None
    headers = _request_headers(request, length)
    is_gone = request.environ.get("waitress.client_disconnected", _never)

    def send() -> Answer:
        authorization = {"Authorization": _authorization(request)}
        return upstream.send(request.method, path, headers | authorization, body, is_gone)

    answer = send()
    before = ours.session
    store = services_of(request).store
    if (
        answer.status != 401
        or before is None
        or not (body is None or body.rewind())
        or is_refused(store, upstream.url, before)
    ):
        return answer
    renew_session(request, before, wait=True)
    write_to_response(request, ours)
    if ours.identity is None:
        answer.close()
        if ours.error is ErrorCode.BACKEND_UNAVAILABLE:
            return unavailable_problem(request, ours.retry_after)
        return sign_in_problem(request, ours.error)
    if ours.session is None or ours.session is before:
        return answer
    answer.close()
    answer = send()
    if answer.status == 401:
        record_refused(store, upstream.url, ours.session)
    return answer


def _never() -> bool:
    """Return False. Servers other than waitress do not say whether the client has gone."""
    return False


def _authorization(request: Request) -> str:
    """Return the header with the user's access token (``backend.authorization``)."""
    ours: RequestSession = request.authapp
    tokens = ours.session.tokens if ours.session else TokenPair("", "")
    if ours.bearer is not None:
        tokens = TokenPair(ours.bearer, "")
    try:
        return authorization(services_of(request).settings.description.authorization, tokens)
    except ValueError as error:
        raise UpstreamAway(str(error)) from None


def _request_headers(request: Request, length: int) -> dict[str, str]:
    """Return the headers for the API, without ``Authorization``."""
    sent = {name.lower(): value for name, value in request.headers.items()}
    dropped = _NOT_SENT | _named(sent.get("connection", ""))
    headers = {
        name: value
        for name, value in sent.items()
        if dropped.isdisjoint((name, plain(name))) and not names_user_or_address(plain(name))
    }
    if length or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(length)
    headers["x-forwarded-for"] = client_address(request)
    headers["x-forwarded-proto"] = request.scheme
    headers["x-request-id"] = request.authapp_request_id
    return headers


def _named(connection: str) -> set[str]:
    """Return the names in a ``Connection`` header. They concern one connection only."""
    return {name.strip().lower() for name in connection.split(",")}


def _path(request: Request, prefix: str) -> str | None:
    """Return what is appended to the base URL of the API: the rest of the path, and the query.

    If the server provides ``REQUEST_URI``, the percent-encoding of the client is kept. If not, the
    path is encoded again, and ``%2F`` becomes a slash.

    :returns: None if the decoded path has a segment that a server may read as ``.`` or ``..``. For
        this check, the path is decoded once, as the API does it.
    """
    rest: str = request.matchdict["rest"]
    if has_dot_segment(rest):
        return None
    # Only REQUEST_URI tells %2F from a slash, and not all servers provide REQUEST_URI.
    sent, _, _ = str(request.environ.get("REQUEST_URI", "")).partition("?")
    sent = sent.removeprefix(request.script_name + prefix)
    if unquote(sent) == rest:
        rest, safe = sent, _IN_PATH + "%"
    else:
        safe = _IN_PATH
    query = str(request.environ.get("QUERY_STRING", "")).encode("latin-1")
    target = quote(rest, safe=safe) + (f"?{quote(query, safe=_IN_QUERY)}" if query else "")
    return re.sub("%(?![0-9A-Fa-f]{2})", "%25", target)


class _PassedOn(LocationAsWritten, Response):  # type: ignore[misc]
    """A response whose ``Location`` header stays as the API has written it."""


def _response(answer: Answer, upstream: Upstream, prefix: str) -> Response:
    """Return the response of the API as a response of this site."""
    named = _named(", ".join(v for name, v in answer.headers if name.lower() == "connection"))
    headers = [
        (name, _location(value, upstream, prefix) if name.lower() == "location" else value)
        for name, value in answer.headers
        if name.lower() not in HOP_BY_HOP | named and is_returned(name)
    ]
    response = _PassedOn(status=answer.status, headerlist=headers, app_iter=answer)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    caching = ", ".join(response.headers.getall("Cache-Control"))
    if caching:
        response.headers["Cache-Control"] = _for_this_user(caching)
    return response


def _for_this_user(caching: str) -> str:
    """Return a ``Cache-Control`` that keeps a response out of shared caches.

    If the API says whether shared caches may store the response, its value is kept. Otherwise
    ``private`` is added. The reason: the API gets ``Authorization``, and shared caches do not store
    responses to such requests (RFC 9111 section 3.5). But a cache in front of this site sees only a
    cookie, and might store the response.
    """
    return caching if _SAYS_FOR_WHOM & directives(caching) else f"private, {caching}"


def _location(value: str, upstream: Upstream, prefix: str) -> str:
    """Return the ``Location`` for the browser. A URL of the API becomes its path on this site."""
    path = urlsplit(upstream.url).path
    for base in (upstream.url, path):
        rest = value[len(base) :]
        if value.startswith(base) and rest.startswith("/") and not value.startswith("//"):
            return prefix + rest
    return value


def includeme(config: Configurator) -> None:
    """Add a route and a view for each line of ``authapp.proxy``."""
    settings = settings_of(config.registry)
    root = f"/{config.route_prefix}" if config.route_prefix else ""
    for prefix, url in settings.edge.upstreams:
        upstream = Upstream(
            url, settings.edge.proxy_timeout, settings.edge.proxy_bulkhead, settings.backend_ca
        )
        config.add_route(PASSED_ON + prefix, prefix + "{rest:(/.*)?}")
        options: dict[str, Any] = {"require_csrf": False, "permission": NO_PERMISSION_REQUIRED}
        view = proxy_view(upstream, root + prefix)
        config.add_view(view, route_name=PASSED_ON + prefix, **options)
