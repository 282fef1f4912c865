"""authapp's own routes. Their names begin with ``authapp.``.

The paths are settings: see :mod:`authapp.settings.route_settings`.
"""

from typing import Any

from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.interfaces import IRoute, IRoutesMapper
from pyramid.request import Request
from pyramid.security import NO_PERMISSION_REQUIRED

from authapp.settings.ini import SettingsError
from authapp.settings.settings import settings_of

NAMESPACE = "authapp."
"""The prefix of the names of authapp's routes."""

PASSED_ON = NAMESPACE + "proxy:"
"""The names of the proxy's routes to APIs (``authapp.proxy``) begin with this prefix. The limits
and headers of authapp's own pages do not apply to these routes."""

SIGN_IN = ("login", "login_challenge", "login_oidc", "login_oidc_callback")
"""The routes of a sign-in. Their pages may contain the sign-in form."""

STATIC = "authapp-static"
"""The path of the stylesheet and the scripts, below the application's ``route_prefix``."""


def path_of(environ: dict[str, Any]) -> str:
    """Return the path of a request, for a comparison with path prefixes.

    A line feed at the end is removed, because Pyramid's router ignores it too.

    :param environ: the WSGI environ. Its strings are bytes decoded as latin-1 (PEP 3333).
    :returns: the path below the application's mount point. Bytes that are not UTF-8 are replaced.
    """
    return _decoded(environ).removesuffix("\n")


def _decoded(environ: dict[str, Any]) -> str:
    path: str = environ.get("PATH_INFO") or "/"
    return path if path.isascii() else path.encode("latin-1").decode(errors="replace")


def is_own(route: IRoute | None) -> bool:
    """Return True if a route is one of authapp's own pages, or leads to authapp's static files."""
    if route is None or route.name.startswith(PASSED_ON):
        return False
    return bool(route.name.startswith(NAMESPACE)) or is_static(route)


def is_static(route: IRoute) -> bool:
    """Return True if Pyramid has created a route for authapp's static files.

    ``config.add_static_view`` decides the name of the route: see :func:`static_route`.
    """
    return bool(route.name.removeprefix("__").split("/")[-2:] == [STATIC, ""])


def static_route(config: Configurator) -> str:
    """Return the name of the route that ``config.add_static_view(STATIC, …)`` creates."""
    prefix = f"{config.route_prefix}/" if config.route_prefix else ""
    return f"__{prefix}{STATIC}/"


def leads_to(request: Request, path: str, *names: str) -> bool:
    """Return True if a path matches the pattern of one of authapp's routes.

    :param path: the path below the application's mount point, without percent-encoding.
    :param names: names of the routes to test, such as ``login``. Without names, all routes of
        authapp's own pages are tested.
    """
    mapper = request.registry.getUtility(IRoutesMapper)
    if names:
        routes = [mapper.get_route(NAMESPACE + name) for name in names]
    else:
        routes = [route for route in mapper.get_routes() if is_own(route)]
    return any(route is not None and route.match(path) is not None for route in routes)


def is_at(request: Request, *names: str) -> bool:
    """Return True if the path of a request matches one of authapp's routes.

    Tweens can call this function before Pyramid has set ``request.matched_route``.

    :param names: see :func:`leads_to`.
    """
    return leads_to(request, _decoded(request.environ), *names)


def has_matched(request: Request, *names: str) -> bool:
    """Return True if Pyramid has matched a request to one of authapp's routes.

    In contrast to :func:`is_at`, the result is False before Pyramid has chosen the route.

    :param names: names of routes, such as ``login``.
    """
    route = getattr(request, "matched_route", None)  # Pyramid's DummyRequest has no such attribute
    return route is not None and route.name in [NAMESPACE + name for name in names]


def own_path(request: Request, name: str) -> str | None:
    """Return the path of one of authapp's routes: ``request.authapp_path(name)``.

    :param name: the name of the route, such as ``login``.
    :returns: the path. None if the application does not have this route.
    """
    if request.registry.getUtility(IRoutesMapper).get_route(NAMESPACE + name) is None:
        return None
    return str(request.route_path(NAMESPACE + name))


def add_own_route(config: Configurator, name: str) -> bool:
    """Add one of authapp's routes, with the path from the setting ``authapp.routes.<name>``.

    If the route has no view for the method of a request, the request gets 405.

    :param name: a key of :data:`authapp.settings.route_settings.PATHS`.
    :returns: True if the route was added. False if the setting is ``none``.
    """
    path = settings_of(config.registry).paths[name]
    if path is not None:
        _add_route(config, name, path)
    return path is not None


def add_route_below(config: Configurator, parent: str, name: str, rest: str) -> None:
    """Add one of authapp's routes below the path of another route, its parent.

    If the setting for the parent is ``none``, the route is not added.

    :param parent: the name of the parent.
    :param name: the name of the new route.
    :param rest: the pattern of the new route after the parent's path, such as ``/{id}``.
    """
    path = settings_of(config.registry).paths[parent]
    if path is not None:
        _add_route(config, name, path.rstrip("/") + rest)


def _add_route(config: Configurator, name: str, path: str) -> None:
    config.add_route(NAMESPACE + name, path)
    refuse_other_methods(config, NAMESPACE + name)


def refuse_other_methods(config: Configurator, route_name: str) -> None:
    """Return 405 to a request of a route if no view of the route handles the request's method."""
    config.add_view(
        "authapp.web.views.errors.method_not_allowed",
        route_name=route_name,
        permission=NO_PERMISSION_REQUIRED,
        require_csrf=False,  # the request does nothing
    )


def refuse_conflicts(event: ApplicationCreated) -> None:
    """Stop the start of the application if one of its routes conflicts with a route of authapp.

    Two cases are a conflict:

    - The route of the application has the same pattern as authapp's route.
    - The route of the application comes before authapp's route, has no predicates, and matches the
      path of authapp's route.

    :raises SettingsError: with one line for each conflict, which names both routes.
    """
    routes = event.app.registry.getUtility(IRoutesMapper).get_routes()
    problems = [
        f"authapp.routes.{route.name.removeprefix(NAMESPACE)} = {_path(route)}: the route"
        f" {other.name!r} ({_path(other)}) answers this path as well; set another path, or none"
        for place, route in enumerate(routes)
        if is_own(route) and not is_static(route)
        for other_place, other in enumerate(routes)
        if other is not route
        and (
            _path(other) == _path(route)
            or (other_place < place and not other.predicates and other.match(_path(route)))
        )
    ]
    if problems:
        raise SettingsError(problems)


def _path(route: IRoute) -> str:
    return "/" + str(route.pattern).lstrip("/")


def includeme(config: Configurator) -> None:
    """Add ``request.authapp_path``, and the check for conflicting routes.

    This function adds no routes: :mod:`authapp.web.views` adds each route with its views.
    """
    config.add_request_method(own_path, "authapp_path")
    config.add_subscriber(refuse_conflicts, ApplicationCreated)
