"""The variables of every template: ``identity``, ``validity`` and ``session_error``."""

from pyramid.config import Configurator
from pyramid.events import BeforeRender

from authapp.web.request_session import RequestSession


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
    """Subscribe :func:`add_template_variables` to ``BeforeRender``."""
    config.add_subscriber(add_template_variables, BeforeRender)
