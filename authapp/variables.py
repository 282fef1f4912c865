"""What templates know of a session: ``identity``, ``validity`` and ``session_error``.

Whatever renders them, they are set when Pyramid is about to (:class:`BeforeRender`). But with
a subscriber Pyramid sends five events with every request, which costs more than to find the
session. So where nobody else listens and all templates are Jinja2's, these look up what they
name themselves, and the events are spared.
"""

from collections.abc import Callable
from typing import Any

from jinja2.runtime import Context
from jinja2.utils import missing
from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.interfaces import IRendererFactory
from pyramid.registry import Registry
from pyramid_jinja2 import IJinja2Environment, Jinja2RendererFactory

NAMES = frozenset({"identity", "validity", "session_error"})

_NO_TEMPLATES = frozenset({"json", "string"})
"""Pyramid's own renderers."""


def variable(request: Any, name: str) -> Any:
    """What one of the names stands for; None where a page is rendered without a session."""
    return getattr(request, name) if hasattr(request, "authapp") else None


class SessionContext(Context):
    """Of a Jinja2 template, where what its view returned comes first."""

    def resolve_or_missing(self, key: str) -> Any:
        """The value of a name; see :class:`jinja2.runtime.Context`."""
        found = super().resolve_or_missing(key)
        if found is missing and key in NAMES:
            return variable(self.parent.get("request"), key)
        return found


def _add_variables(event: BeforeRender) -> None:
    for name in NAMES:
        event.setdefault(name, variable(event.get("request"), name))


def spare_events_tween_factory(handler: Callable[..., Any], registry: Registry) -> Any:
    """Adds no tween: this is when all is configured, and nothing has been asked yet."""
    factories = dict(registry.getUtilitiesFor(IRendererFactory))
    others = {
        name
        for name, factory in factories.items()
        if name not in _NO_TEMPLATES and not isinstance(factory, Jinja2RendererFactory)
    }
    listeners = [*registry.registeredHandlers(), *registry.registeredSubscriptionAdapters()]
    if len(listeners) == 1 and not others:
        for _, environment in registry.getUtilitiesFor(IJinja2Environment):
            kind = environment.context_class
            environment.context_class = type(kind.__name__, (SessionContext, kind), {})
        registry.has_listeners = False  # until somebody subscribes
    return handler


def includeme(config: Configurator) -> None:
    """Show the session in templates."""
    config.add_subscriber(_add_variables, BeforeRender)
    config.add_tween("authapp.variables.spare_events_tween_factory")
