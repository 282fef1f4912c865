"""authapp: signed-in sessions for Pyramid on top of a backend that issues its own JWTs."""

from typing import Any

from pyramid.config import PHASE0_CONFIG, PHASE1_CONFIG, Configurator
from pyramid.settings import asbool

from authapp.backend import Backend
from authapp.csrf import SessionCSRF
from authapp.ini import SettingsError
from authapp.parts import IBackend, IParts, assemble
from authapp.routes import ROUTES, STATIC
from authapp.settings import BACKEND_URL_MISSING, EMBEDDED, Settings

__all__ = ["includeme", "main"]


def main(global_config: dict[str, str], **settings: Any) -> Any:
    """The site: authapp with a start page and an admin page of its own (``egg:authapp``)."""
    settings.setdefault("authapp.headers", "all")
    with Configurator(settings=settings) as config:
        config.include("authapp")
        config.include("authapp.views.pages")
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

    def register_parts() -> None:
        registry = config.registry
        backend = registry.queryUtility(IBackend)
        if backend is None and settings.backend_url is None:
            raise SettingsError([BACKEND_URL_MISSING])
        registry.registerUtility(assemble(settings, backend, own_paths, issuer), IParts)

    shown = config.introspectable("authapp", "settings", "settings", "authapp settings")
    shown.update(settings.shown)
    config.action("authapp", register_parts, order=PHASE1_CONFIG, introspectables=(shown,))
    config.add_directive("set_auth_backend", _set_auth_backend)
    config.set_csrf_storage_policy(SessionCSRF(settings.secrets, secure=settings.cookie.secure))
    config.set_default_csrf_options(require_csrf=True, check_origin=False)  # see authapp.csrf
    config.include("pyramid_jinja2")
    config.include("authapp.routes")
    config.include("authapp.attributes")
    config.include("authapp.security")
    config.include("authapp.tween")
    config.include("authapp.cors")
    config.include("authapp.headers")
    config.include("authapp.development_hosts")
    config.include("authapp.events")
    config.include("authapp.i18n")
    config.include("authapp.views")
    if not settings.development:  # there, the debugger shall see failures
        config.include("authapp.views.errors")


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
