"""The variables of every template: ``identity``, ``validity`` and ``session_error``."""

from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.request import Request

from authapp.settings.settings import settings_of
from authapp.web.redirects import current_page
from authapp.web.request_session import RequestSession


def site_name(request: Request) -> str:
    """Return the name of the site: the setting ``authapp.site.name``, or the host of the request.

    The host is only shown as a name in the page. It is not used in URLs.
    """
    return settings_of(request.registry).site_name or str(request.domain)


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in page, which leads back to this page.

    :returns: the path, with ``next`` in the query unless this page is the start page.
    """
    try:
        target = current_page(request)
    except UnicodeDecodeError:  # an error page of a path that is not UTF-8
        target = "/"
    query = {} if target == request.script_name + "/" else {"next": target}
    return str(request.route_path("authapp.login", _query=query))


def add_template_variables(event: BeforeRender) -> None:
    """Add the variables to a template. A variable that the view has set is kept.

    If a template is rendered without a request, the variables are None.

    :param event: the event, which holds the variables of the template.
    """
    request = event.get("request")
    ours: RequestSession | None = getattr(request, "authapp", None)
    event.setdefault("identity", ours and request.identity)
    event.setdefault("validity", ours and ours.validity)
    event.setdefault("session_error", ours and ours.error)


def includeme(config: Configurator) -> None:
    """Subscribe :func:`add_template_variables`, and add the request methods of the layout."""
    config.add_request_method(site_name, "authapp_site", property=True)
    config.add_request_method(sign_in_path, "authapp_sign_in", property=True)
    config.add_subscriber(add_template_variables, BeforeRender)
