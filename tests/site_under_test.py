"""The site as tests use it: the real application in WebTest, without a server."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.router import Router
from webtest import TestApp, TestResponse

import authapp
from authapp.backend.description import Description
from authapp.services import EMBEDDED_URL, IBackend, IServices, wire
from authapp.settings.settings import Settings

SECRET = "a secret for tests that is long enough, 1"
COOKIE = "authapp.session"


def settings(backend_url: str, **more: str) -> dict[str, str]:
    """Return the settings of ``[app:main]`` for a site in a test.

    :param more: further settings. Write the key ``authapp.a.b`` as ``a__b``.
    """
    ini = {
        "pyramid.default_locale_name": "en",
        "jinja2.bytecode_caching": "true",  # compiles the templates once, not for each test
        "authapp.development": "true",
        "authapp.secret": SECRET,
        "authapp.backend.url": backend_url,
        "authapp.backend.timeout": "8",
    }
    return ini | {f"authapp.{key.replace('__', '.')}": value for key, value in more.items()}


def description(**keys: str) -> Description:
    """Return the parsed settings of a backend. The parameters are those of :func:`settings`."""
    return Settings.from_ini(settings("http://backend.invalid", **keys)).description


def add_view(config: Configurator, view: Callable[[Request], Any], **options: Any) -> None:
    """Add a view to an application, at ``/view``. The result of the view is sent as JSON."""
    config.add_route("view", "/view")
    config.add_view(view, route_name="view", renderer="json", **options)


def nothing(config: Configurator) -> None:
    pass


def application(url: str, more: Callable[[Configurator], None] = nothing, **keys: str) -> "Site":
    """Return a browser at a new application that includes authapp.

    :param url: the URL of the backend.
    :param more: a function that adds more to the application.
    :param keys: further settings, as in :func:`settings`.
    """
    create = fresh if more is nothing else _configure
    return Site(wsgi=create(more, **settings(url, **keys)))


def shared_application(url: str, more: Callable[[Configurator], None], **keys: str) -> "Site":
    """Return what :func:`application` returns. Calls with the same arguments share a configuration.

    :param more: a function at the top level of a module. A nested function is a new object each
        time, so a call with it would not share a configuration.
    """
    return Site(wsgi=fresh(more, **settings(url, **keys)))


def application_with_view(url: str, view: Callable[[Request], Any], **keys: str) -> "Site":
    """Return a browser at an application with one view, at ``/view``, whose result is sent as JSON.

    This is quicker than :func:`application`, because only the view is new.
    """
    site = shared_application(url, _add_own_view, **keys)
    site.app.registry["view"] = view
    return site


def _add_own_view(config: Configurator) -> None:
    add_view(config, lambda request: request.registry["view"](request))


def _configure(more: Callable[[Configurator], None] | None, **ini: str) -> Router:
    """Configure an application that includes authapp. If ``more`` is None, configure authapp's own
    site."""
    if more is None:
        return authapp.main({}, **ini)
    with Configurator(settings=ini) as config:
        config.include("authapp")
        more(config)
        return config.make_wsgi_app()


_configured = functools.lru_cache(maxsize=32)(_configure)


def fresh(more: Callable[[Configurator], None] | None, **ini: str) -> Router:
    """Return a new application within 1 ms. Pyramid's configuration would take 40 ms.

    Applications with the same settings share the configuration, which no request changes. Each
    application has its own services, such as the store, the throttle and the breakers. But the
    applications share two objects of views: the proxy's connections, and the waiting times of
    ``/session/ended``.
    """
    if "authapp.shared" in ini:  # a configuration that is kept would keep its connections to Redis
        return _configure(more, **ini)
    configured = _configured(more, **ini).registry
    registry = Registry("site", bases=(configured,))
    registry.adapters = configured.adapters  # Pyramid does not look for views in bases
    registry.settings = configured.settings.copy()
    registry.introspector = configured.introspector
    registry.has_listeners = configured.has_listeners
    before = configured.getUtility(IServices)
    services = wire(before.settings, configured.queryUtility(IBackend), (), None)
    services.http.mount(EMBEDDED_URL, before.http.get_adapter(EMBEDDED_URL))
    registry.registerUtility(replace(services, excluded=before.excluded), IServices)
    if services.settings.oidc is not None:
        from authapp.oidc import register_provider

        register_provider(registry)
    return Router(registry)


def main(**ini: str) -> Router:
    """Return the site that ``authapp.main`` creates: see :func:`fresh`."""
    return fresh(None, **ini)


class Site(TestApp):
    """A browser that uses a site, and keeps the cookies that the site sets.

    :param backend_url: the URL of the backend, if ``wsgi`` is None.
    :param wsgi: the application. If None, a new site is made with ``backend_url`` and ``more``.
    :param more: further settings, as in :func:`settings`.
    """

    def __init__(self, backend_url: str = "", wsgi: Any = None, **more: str) -> None:
        wsgi = wsgi or main(**settings(backend_url, **more))
        super().__init__(wsgi, extra_environ={"HTTP_HOST": "localhost:80"})

    @property
    def services(self) -> Any:
        return self.app.registry.getUtility(IServices)

    def sign_in(self, name: str = "alice", password: str = "", **options: Any) -> TestResponse:
        """Sign in with the fields of the form. WebTest's own forms would be 7 ms slower, because
        they parse the whole page."""
        hidden = '<input type="hidden" name="([a-z_]+)" value="([^"]*)">'
        fields = dict(re.findall(hidden, self.get("/login").text))
        fields |= {"username": name, "password": password or f"{name}-password"}
        return self.post("/login", fields, **options)

    def csrf(self) -> str:
        return self.get("/session").json["csrf_token"]

    def sign_out(self, everywhere: bool = False) -> TestResponse:
        fields = {"csrf_token": self.csrf()} | ({"everywhere": "1"} if everywhere else {})
        return self.post("/logout", fields)

    def token(self) -> str:
        """Return the value of the browser's session cookie."""
        return self.cookies[COOKIE]

    def cookie_header(self) -> dict[str, str]:
        """Return the session cookie as a ``Cookie`` header, to send it after the browser has
        deleted it."""
        return {"Cookie": f"{COOKIE}={self.token()}"}

    def opened(self) -> Any:
        """Return the session in the browser's cookie."""
        return self.services.sealer.open(self.token())

    def twin(self) -> "Site":
        """Return another browser with a copy of this browser's cookies."""
        other = Site(wsgi=self.app)
        for cookie in self.cookiejar:
            other.cookiejar.set_cookie(cookie)
        return other
