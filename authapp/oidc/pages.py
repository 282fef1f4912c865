"""The sign-in page, shown with the reason why a sign-in at the provider did not succeed."""

from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.sign_in import SignInRefused
from authapp.web.views.sign_in import form

PAGE = "authapp:templates/login.jinja2"
"""The template of the sign-in page."""


def sign_in_page(request: Request, refused: SignInRefused, target: str) -> Response:
    """Return the sign-in page with an error, in ``request.response``.

    This page does not redirect to the provider by itself, because the provider could send the
    browser back with an error again and again.

    :param target: the path or URL to which the user returns:
        see :func:`authapp.web.redirects.safe_next`.
    """
    values = form(request, target, refused)
    return render_to_response(PAGE, values, request, response=request.response)
