"""Responses that several modules return: redirects, error pages and problems.

After an error, a browser that opens a page gets an HTML page. A program gets a problem, which is a
JSON object with the error (RFC 9457).
"""

import math
from collections.abc import Iterable
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.i18n import TranslationString, TranslationStringFactory
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.error_codes import SIGN_IN_REQUIRED, SIGN_IN_REQUIRED_SENTENCE, ErrorCode
from authapp.web.redirects import current_page, is_htmx, safe_next
from authapp.web.request_locale import localizer_of, set_locale
from authapp.web.routes import SIGN_IN, has_matched, is_at, path_of

log = request_log(__name__)

_ = TranslationStringFactory("authapp")

FORBIDDEN = _("You do not have access to this page. Ask your administrator if you need it.")

_OTHER = _("That did not work")

HEADINGS = {
    "BackendUnavailable": _("We can't check your sign-in right now"),
    "BadCSRFToken": _("This form is out of date"),
    "BadRequest": _("Something is wrong with this request"),
    "Forbidden": _("You do not have access"),
    "NotFound": _("Page not found"),
    "TooLarge": _("That was too large"),
    "Unavailable": _("Not available right now"),
}
"""Error code -> the heading of the error page."""

_PROBLEM = "application/problem+json"

_JSON_ROUTES = ("health", "session", "session_by_id", "session_ended", "sessions")
"""The routes of authapp that only programs request."""

_HTML = ("text/html", "application/xhtml+xml", "text/*")


class LocationAsWritten:
    """A response whose ``Location`` header is sent unchanged (RFC 9110 section 10.2.2).

    If ``Location`` is a path, WebOb would replace it with a full URL. The host in the URL would
    come from the ``Host`` header of the request, which a client can forge.
    """

    headerlist: list[tuple[str, str]]

    def _abs_headerlist(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        return self.headerlist


class OwnResponse(LocationAsWritten, Response):  # type: ignore[misc]
    """A response that authapp has created.

    :mod:`authapp.web.security_headers` uses this class to recognize authapp's responses. They can
    also be responses to requests for the application's pages.
    """


def wants_page(request: Request) -> bool:
    """Return True if the response to a request must be an HTML page, and False if it must be JSON.

    A browser that opens a page gets HTML. A program or a script gets JSON. Contract section 4 has
    the rules by which this function tells them apart.
    """
    if services_of(request).for_programs(path_of(request.environ)) or is_at(request, *_JSON_ROUTES):
        return False
    if request.headers.get("X-Requested-With", "").lower() == "xmlhttprequest":
        return False
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or is_htmx(request):
        return False
    return _prefers_html(request)


def _prefers_html(request: Request) -> bool:
    """Return True if the ``Accept`` header allows HTML, and does not prefer JSON to HTML.

    If the header names HTML or JSON, ``*/*`` is ignored. For example, the library axios sends
    ``application/json, text/plain, */*`` and gets JSON. A type that ends with ``+json`` is JSON too
    (RFC 6839 section 3.1).
    """
    ranges = [(each[0].lower(), each[1]) for each in request.accept.parsed or ()]
    html = max((q for name, q in ranges if name in _HTML), default=0.0)
    json = max((q for name, q in ranges if name.endswith(("/json", "+json"))), default=0.0)
    if html or json:
        return html >= json
    return bool(request.accept.acceptable_offers(["text/html"]))


class _SeeOtherPath(LocationAsWritten, HTTPSeeOther):  # type: ignore[misc]
    """A 303 redirect whose ``Location`` header is sent unchanged: see :func:`see_other`."""


def see_other(location: str) -> Response:
    """Return a 303 redirect that caches do not store.

    :param location: a path with an optional query, or a URL. It must be safe to redirect to: see
        :func:`authapp.web.redirects.safe_next`.
    """
    return _SeeOtherPath(location, headers={"Cache-Control": "no-store"})


def lead_on(request: Request, page: str, url: str) -> Response:
    """Return a page that sends the browser on to another site without a click.

    The request comes from a form. A redirect would not always work. Browsers block it if the other
    site is not in ``form-action`` of the content security policy of the page with the form.

    :param page: the template of the page. It gets the variable ``url``.
    :param url: the address of the other site.
    """
    response = render_to_response(page, {"url": url}, request, response=OwnResponse())
    response.cache_control = "no-store"
    return response


def sign_in_required(request: Request, code: ErrorCode | None) -> Response:
    """Return the response if a request needs a signed-in user, but no user is signed in.

    :param code: why no user is signed in: ``request.session_error``.
    :returns: the first of these responses that applies:

        - If ``code`` is ``BackendUnavailable``: 503 with ``Retry-After``. The user does not have to
          sign in again.
        - At a sign-in page: 403, because a redirect to that page would be a loop.
        - For a browser that opens a page: a 303 redirect to the sign-in page.
        - For a program: a 401 problem.
    """
    if code is ErrorCode.BACKEND_UNAVAILABLE:
        return backend_unavailable(request, request.authapp.retry_after)
    if has_matched(request, *SIGN_IN):
        reason = "the application refuses the sign-in (root factory, or subscriber of SignedIn)"
        log.warning("Forbidden: %s %s: %s", request.method, request.path[:256], reason)
        return failure(request, 403, "Forbidden", FORBIDDEN)
    if not wants_page(request):
        return sign_in_problem(request, code)
    login_url = _login_url(request, code)
    return lead_htmx(request, see_other(login_url), login_url)


def sign_in_problem(
    request: Request, code: ErrorCode | None, login_url: str | None = None
) -> Response:
    """Return a 401 problem for a program. The problem contains the address of the sign-in page.

    For a request of the library htmx, the header ``HX-Redirect`` contains this address too. htmx
    then opens the sign-in page.

    :param code: why the session ended. None if there was no session.
    :param login_url: the address of the sign-in page. None: the sign-in page of this site, with the
        present page as ``next``.
    """
    detail = code.sentence if code else SIGN_IN_REQUIRED_SENTENCE
    login_url = login_url or _login_url(request, code)
    response = problem(request, 401, code or SIGN_IN_REQUIRED, detail, login_url=login_url)
    return lead_htmx(request, response, login_url)


def lead_htmx(request: Request, response: Response, login_url: str) -> Response:
    """Make the library htmx open the sign-in page, and return the response.

    :param response: a redirect to the sign-in page, or a 401 problem. If htmx has sent the request,
        this function adds a header to the response.
    :param login_url: the address of the sign-in page.
    """
    if is_htmx(request):
        response.headers["HX-Redirect"] = login_url
    vary_by(response, "HX-Request")
    return response


def _login_url(request: Request, code: ErrorCode | None) -> str:
    """Return the path of the sign-in page, with ``next`` and perhaps ``reason`` in the query.

    :param code: the value of ``reason``: why the session ended. None if there was no session.
    """
    query = {"next": current_page(request)} | ({"reason": code.value} if code else {})
    return str(request.route_path("authapp.login", _query=query))


def problem(
    request: Request, status: int, code: str, detail: TranslationString, **members: Any
) -> Response:
    """Return an ``application/problem+json`` response (RFC 9457).

    :param status: the HTTP status code.
    :param code: the error code, for programs.
    :param detail: the sentence for the user, which this function translates.
    :param members: further members of the JSON object.
    """
    set_locale(request)
    response = OwnResponse(status=status, content_type=_PROBLEM, charset="utf-8")
    response.json_body = {
        "type": "about:blank",
        "title": response.status[4:],
        "status": status,
        "code": str(code),
        "detail": localizer_of(request).translate(detail),
        **members,
    }
    response.cache_control = "no-store"
    return response


def failure(
    request: Request,
    status: int,
    code: str,
    sentence: TranslationString,
    wait: float | None = None,
) -> Response:
    """Return an error response: an HTML page for a browser, or a problem for a program.

    :param status: the HTTP status code.
    :param code: the error code, for programs.
    :param sentence: the sentence for the user, which this function translates.
    :param wait: the client may try again after this many seconds (``Retry-After``). None if it does
        not help to try again.
    """
    if wants_page(request):
        set_locale(request)
        may_help = wait is not None or status == 500 or request.method == "POST"
        again = _again(request) if may_help else None
        values = {"status": status, "code": str(code), "again": again}
        values |= {"heading": _heading(request, str(code)), "sentence": sentence}
        page, response = "authapp:templates/error.jinja2", OwnResponse()
        response = render_to_response(page, values, request, response=response)
        response.status = status
        response.cache_control = "no-store"
    else:
        response = problem(request, status, code, sentence)
    if wait is not None:
        response.headers["Retry-After"] = retry_after(wait)
    return response


def _heading(request: Request, code: str) -> TranslationString:
    """Return the heading of an error page."""
    if code == ErrorCode.BACKEND_UNAVAILABLE and request.authapp.identity is not None:
        code = "Unavailable"  # the sign-in is checked, and another call of the backend has failed
    return HEADINGS.get(code, _OTHER)


def _again(request: Request) -> str:
    """Return the path of the link "Try again" on an error page.

    After an error of the sign-in page, this is the sign-in page with the same ``next``. Otherwise
    it is the current page.
    """
    if is_at(request, "login"):
        try:
            target = request.GET.get("next")
        except UnicodeDecodeError:  # the query is not UTF-8
            target = None
        query = {"next": safe_next(request, target)}
        return str(request.route_path("authapp.login", _query=query))
    return current_page(request)


def backend_unavailable(request: Request, wait: float) -> Response:
    """Return a 503 response, because the request needs the backend and the backend is unavailable.

    :param wait: the client may try again after this many seconds (``Retry-After``).
    """
    code = ErrorCode.BACKEND_UNAVAILABLE
    return failure(request, 503, code, code.sentence, wait)


def unavailable_problem(request: Request, wait: float) -> Response:
    """Return the 503 problem of :func:`backend_unavailable`, even if the client wants a page."""
    code = ErrorCode.BACKEND_UNAVAILABLE
    response = problem(request, 503, code, code.sentence)
    response.headers["Retry-After"] = retry_after(wait)
    return response


def set_cookies(response: Response, cookies: Iterable[str]) -> None:
    """Replace all ``Set-Cookie`` headers of a response with new ones.

    :param cookies: the values of the new headers.
    """
    others = [each for each in response.headerlist if each[0].lower() != "set-cookie"]
    response.headerlist = others + [("Set-Cookie", each) for each in cookies]


def vary_by(response: Response, header: str) -> None:
    """Add the name of a request header to ``Vary``, because the response depends on this header."""
    present = response.headers.setdefault("Vary", header)
    if present != header and header not in (response.vary or ()):
        response.vary = (*(response.vary or ()), header)


def wait_sentence(seconds: float) -> TranslationString:
    """Return a sentence for the user, such as "Try again in 20 seconds."."""
    whole = max(1, math.ceil(seconds))
    if whole < 3:
        return _("Try again in a moment.")
    if whole <= 90:
        return _("Try again in ${count} seconds.", mapping={"count": whole})
    if whole <= 90 * 60:
        return _("Try again in ${count} minutes.", mapping={"count": math.ceil(whole / 60)})
    return _("Try again in ${count} hours.", mapping={"count": math.ceil(whole / 3600)})


def retry_after(seconds: float) -> str:
    """Return the value of a ``Retry-After`` header (RFC 9110 section 10.2.3).

    :returns: the seconds, rounded up to a whole number. At least 1.
    """
    return str(max(1, math.ceil(seconds)))
