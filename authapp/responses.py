"""The answers that every part gives in the same words: a page or a problem (RFC 9457)."""

import math
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.i18n import TranslationString
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from authapp.errors import SIGN_IN_REQUIRED, SIGN_IN_REQUIRED_SENTENCE, ErrorCode
from authapp.parts import parts_of
from authapp.redirects import current_page


def wants_page(request: Request) -> bool:
    """Whether a person navigates here; otherwise a program asks for data."""
    path = request.environ.get("PATH_INFO", "")
    prefixes = parts_of(request).settings.api_prefixes
    if any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes):
        return False
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return False
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is not None and mode != "navigate":
        return False
    accept = request.headers.get("Accept", "")
    return "json" not in accept or "text/html" in accept


def see_other(location: str) -> Response:
    """303 to a path on this site, kept by no cache."""
    return HTTPSeeOther(location, headers={"Cache-Control": "no-store"})


def sign_in_required(request: Request, code: ErrorCode | None) -> Response:
    """Send a person to sign in, tell a program that it must.

    :param code: why the session ended, where there was one.
    """
    query = {"next": current_page(request)}
    if code is not None:
        query["reason"] = code.value
    login_url = request.route_path("login", _query=query)
    if wants_page(request):
        return see_other(login_url)
    detail = code.sentence if code else SIGN_IN_REQUIRED_SENTENCE
    return problem(request, 401, code or SIGN_IN_REQUIRED, detail, login_url=login_url)


def problem(
    request: Request, status: int, code: str, detail: TranslationString, **members: Any
) -> Response:
    """``application/problem+json`` (RFC 9457) with ``code`` and ``detail``."""
    response = Response(status=status, content_type="application/problem+json", charset="utf-8")
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
    retry_after: float | None = None,
) -> Response:
    """An error as a page or as a problem, whichever is wanted."""
    if wants_page(request):
        values = {"status": status, "code": str(code), "sentence": sentence}
        response = render_to_response("authapp:templates/error.jinja2", values, request)
        response.status = status
        response.cache_control = "no-store"
    else:
        response = problem(request, status, code, sentence)
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return response
