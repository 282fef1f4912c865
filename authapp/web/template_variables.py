"""Adds variables to every template: ``identity``, ``validity`` and ``session_error``.

Before a template of authapp is rendered, the locale of the request is set too.
"""

from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.request import Request

from authapp.settings.settings import settings_of
from authapp.web.redirects import current_page
from authapp.web.request_session import RequestSession


def site_name(request: Request) -> str:
    """Return the name of the site: the setting ``authapp.site.name``, or the host of the request.

    A client can forge the host. It is only shown in the page, and not used in URLs.
    """
    return settings_of(request.registry).site_name or str(request.domain)


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in page. After the sign-in, the user returns to the current page.

    :returns: the path, with the current page as ``next`` in the query. If the current page is the
        start page, the path has no ``next``.
    """
    try:
        target = current_page(request)
    except UnicodeDecodeError:  # an error page of a path that is not UTF-8
        target = "/"
    query = {} if target == request.script_name + "/" else {"next": target}
    return str(request.route_path("authapp.login", _query=query))


def add_template_variables(event: BeforeRender) -> None:
    """Add the variables to a template. If the view has set one of them, the view's value is kept.

    If a template is rendered without a request, the variables are None.

    :param event: Pyramid's event. It is also the dict of the template's variables.
    """
    request = event.get("request")
    ours: RequestSession | None = getattr(request, "authapp", None)
    event.setdefault("identity", ours and request.identity)
    event.setdefault("validity", ours and ours.validity)
    event.setdefault("session_error", ours and ours.error)
    if ours and str(event.get("renderer_name")).startswith("authapp:"):
        # Set the locale before a template uses it, even if it is the application's own template.
        request.authapp_localizer  # noqa: B018


def includeme(config: Configurator) -> None:
    """Add the template variables, and the request attributes that the layout template uses."""
    config.add_request_method(site_name, "authapp_site", property=True)
    config.add_request_method(sign_in_path, "authapp_sign_in", property=True)
    config.add_subscriber(add_template_variables, BeforeRender)
