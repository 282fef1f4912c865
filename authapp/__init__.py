"""authapp: signed-in sessions for Pyramid on top of a backend that issues its own JWTs."""

from typing import Any

from pyramid.config import PHASE0_CONFIG, PHASE1_CONFIG, Configurator
from pyramid.settings import asbool

from authapp.backend.protocol import Backend
from authapp.services import IBackend, IServices, wire
from authapp.settings.ini import SettingsError
from authapp.settings.settings import BACKEND_URL_MISSING, EMBEDDED, Settings
from authapp.web.csrf import SessionCSRF
from authapp.web.routes import ROUTES, STATIC

__all__ = ["includeme", "main"]


def main(global_config: dict[str, str], **settings: Any) -> Any:
    """The site: authapp with a start page and an admin page of its own (``egg:authapp``)."""
    settings.setdefault("authapp.headers", "all")
    with Configurator(settings=settings) as config:
        config.include("authapp")
        config.include("authapp.web.views.pages")
        return config.make_wsgi_app()


def includeme(config: Configurator) -> None:
    """The add-on: ``config.include("authapp")``, with a ``route_prefix`` if you like.

    :raises SettingsError: at once, with everything that is wrong in the ini file.
    """
    settings = Settings.from_ini(config.registry.settings)
    if not asbool(config.registry.settings.get("jinja2.autoescape", True)):
        raise SettingsError(["jinja2.autoescape = false: authapp's pages need true"])
    issuer = None
    if settings.backend_url == EMBEDDED:
        from authapp.issuer import main as make_issuer

        issuer = make_issuer({}, **config.registry.settings)
    prefix = f"/{config.route_prefix}" if config.route_prefix else ""
    own_paths = (f"{prefix}/{STATIC}", prefix + ROUTES["health"])

    def register_services() -> None:
        registry = config.registry
        backend = registry.queryUtility(IBackend)
        if backend is None and settings.backend_url is None:
            raise SettingsError([BACKEND_URL_MISSING])
        registry.registerUtility(wire(settings, backend, own_paths, issuer), IServices)

    shown = config.introspectable("authapp", "settings", "settings", "authapp settings")
    shown.update(settings.shown)
    config.action("authapp", register_services, order=PHASE1_CONFIG, introspectables=(shown,))
    config.add_directive("set_auth_backend", _set_auth_backend)
    config.set_csrf_storage_policy(SessionCSRF(settings.secrets, secure=settings.cookie.secure))
    config.set_default_csrf_options(require_csrf=True, check_origin=False)  # see authapp.csrf
    config.include("pyramid_jinja2")
    config.include("authapp.web.routes")
    config.include("authapp.web.request_methods")
    config.include("authapp.web.security_policy")
    config.include("authapp.web.session_tween")
    config.include("authapp.web.cors")
    config.include("authapp.web.security_headers")
    config.include("authapp.web.development_hosts")
    config.include("authapp.web.header_limits")
    config.include("authapp.web.audit_log")
    config.include("authapp.web.template_variables")
    config.include("authapp.web.localization")
    config.include("authapp.web.views")
    if not settings.development:  # there, the debugger shall see failures
        config.include("authapp.web.views.errors")


def _set_auth_backend(config: Configurator, backend: Backend) -> None:
    """``config.set_auth_backend(obj)``: use a backend of the application's own."""
    shown = config.introspectable(
        "authapp", "backend", type(backend).__qualname__, "authapp backend"
    )
    shown["backend"] = backend
    config.action(
        "authapp backend",
        lambda: config.registry.registerUtility(backend, IBackend),
        order=PHASE0_CONFIG,
        introspectables=(shown,),
    )
