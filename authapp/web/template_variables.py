"""The variables that every template has: ``identity``, ``validity``, ``session_error``."""

from pyramid.config import Configurator
from pyramid.events import BeforeRender

from authapp.web.request_session import RequestSession


def add_template_variables(event: BeforeRender) -> None:
    """Add the variables, unless the view has set them. They are None without a request."""
    request = event.get("request")
    ours: RequestSession | None = getattr(request, "authapp", None)
    event.setdefault("identity", ours and request.identity)
    event.setdefault("validity", ours and ours.validity)
    event.setdefault("session_error", ours and ours.error)


def includeme(config: Configurator) -> None:
    """Add the subscriber."""
    config.add_subscriber(add_template_variables, BeforeRender)
