"""The answers that every part gives in the same words: a page or a problem (RFC 9457)."""

import math
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.i18n import TranslationString
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from authapp.services import services_of
from authapp.session.error_codes import SIGN_IN_REQUIRED, SIGN_IN_REQUIRED_SENTENCE, ErrorCode
from authapp.web.redirects import current_page
from authapp.web.routes import path_of

_PROBLEM = "application/problem+json"


class OwnResponse(Response):  # type: ignore[misc]
    """An answer of authapp's own, on whatever page of an application it is given."""


def wants_page(request: Request) -> bool:
    """Whether a person navigates here; otherwise a program asks for data."""
    if services_of(request).for_programs(path_of(request.environ)):
        return False
    if request.headers.get("X-Requested-With", "").lower() == "xmlhttprequest":
        return False
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return False
    offers = request.accept.acceptable_offers(["text/html", "application/json", _PROBLEM])
    return bool(offers) and offers[0][0] == "text/html"


class _SeeOtherPath(HTTPSeeOther):  # type: ignore[misc]
    """303 whose ``Location`` stays a path (RFC 9110 section 10.2.2).

    WebOb would put the ``Host`` header in front of it, which is what a visitor has sent.
    """

    def _abs_headerlist(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = self.headerlist
        return headers


def see_other(location: str) -> Response:
    """303 to a path on this site, kept by no cache."""
    return _SeeOtherPath(location, headers={"Cache-Control": "no-store"})


def sign_in_required(request: Request, code: ErrorCode | None) -> Response:
    """Send a person to sign in, tell a program that it must.

    :param code: why the session ended, where there was one.
    """
    if wants_page(request):
        return see_other(_login_url(request, code))
    return sign_in_problem(request, code)


def sign_in_problem(request: Request, code: ErrorCode | None) -> Response:
    """401 for a program, with where a person could sign in."""
    detail = code.sentence if code else SIGN_IN_REQUIRED_SENTENCE
    return problem(
        request, 401, code or SIGN_IN_REQUIRED, detail, login_url=_login_url(request, code)
    )


def _login_url(request: Request, code: ErrorCode | None) -> str:
    query = {"next": current_page(request)} | ({"reason": code.value} if code else {})
    return str(request.route_path("login", _query=query))


def problem(
    request: Request, status: int, code: str, detail: TranslationString, **members: Any
) -> Response:
    """``application/problem+json`` (RFC 9457) with ``code`` and ``detail``."""
    response = OwnResponse(status=status, content_type=_PROBLEM, charset="utf-8")
    response.json_body = {
        "type": "about:blank",
        "title": response.status[4:],
        "status": status,
        "code": str(code),
        "detail": request.localizer.translate(detail),
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
    """An error as a page or as a problem, whichever is wanted.

    :param wait: seconds after which to try again.
    """
    if wants_page(request):
        again = current_page(request) if wait is not None or request.method == "POST" else None
        values = {"status": status, "code": str(code), "sentence": sentence, "again": again}
        page, response = "authapp:templates/error.jinja2", OwnResponse()
        response = render_to_response(page, values, request, response=response)
        response.status = status
        response.cache_control = "no-store"
    else:
        response = problem(request, status, code, sentence)
    if wait is not None:
        response.headers["Retry-After"] = retry_after(wait)
    return response


def backend_unavailable(request: Request, wait: float) -> Response:
    """503: what was asked for needs the backend, which does not answer.

    :param wait: seconds after which to try again.
    """
    code = ErrorCode.BACKEND_UNAVAILABLE
    return failure(request, 503, code, code.sentence, wait)


def vary_by(response: Response, header: str) -> None:
    """Tell caches that another value of a request header may get another answer."""
    said = response.headers.setdefault("Vary", header)
    if said != header and header not in (response.vary or ()):
        response.vary = (*(response.vary or ()), header)


def retry_after(seconds: float) -> str:
    """The value of a ``Retry-After`` header (RFC 9110 section 10.2.3)."""
    return str(max(1, math.ceil(seconds)))
