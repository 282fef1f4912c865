"""Removes authapp's cookies of an earlier request, if an application reuses a response object.

When authapp adds a cookie to a response, it also marks the response with an object that belongs to
the request. If a response has the mark of another request, its cookies are removed. A subrequest
has the same mark as the request that made it. So a cookie that a subrequest has added stays.
"""

from pyramid.request import Request
from pyramid.response import Response
from pyramid.threadlocal import manager

from authapp.services import services_of
from authapp.session.cookies import CSRF_COOKIE
from authapp.web.responses import set_cookies

_COOKIES = (CSRF_COOKIE, f"__Host-{CSRF_COOKIE}")


def mark(request: Request, response: Response) -> None:
    """Mark a response to which authapp adds a cookie for this request."""
    response.authapp_mark = _mark(request)


def drop_cookies_of_others(request: Request, response: Response) -> None:
    """Remove authapp's cookies from a response that has the mark of another request."""
    if hasattr(response, "authapp_mark") and response.authapp_mark is not _mark(request):
        owns = services_of(request).cookie.owns
        present = response.headers.getall("Set-Cookie")
        others = [each for each in present if each.partition("=")[0] not in _COOKIES]
        set_cookies(response, [each for each in others if not owns(each)])
        del response.authapp_mark


def _mark(request: Request) -> object:
    requests = [each["request"] for each in manager.stack if each["request"] is not None]
    return (requests or [request])[0].environ.setdefault("authapp.response_mark", object())
