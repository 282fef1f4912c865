"""authapp signs users in to a Pyramid application, and keeps them signed in.

A separate backend checks the passwords, and issues the access and refresh tokens.

- ``config.include("authapp")`` adds authapp to an application (:func:`includeme`).
- ``egg:authapp`` in an ini file serves authapp as a complete site (:func:`main`).

The names in ``__all__`` are the public API. All other names may change without notice.
"""

import logging
from typing import Any

from pyramid.config import PHASE0_CONFIG, PHASE1_CONFIG, Configurator
from pyramid.settings import asbool

from authapp.backend.protocol import (
    Backend,
    BackendChallenge,
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    ChallengeExpired,
    Credentials,
)
from authapp.services import IBackend, IServices, summary, wire
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity, Phase, Session, TokenPair, Validity
from authapp.settings.allowed_values import EMBEDDED
from authapp.settings.ini import SettingsError
from authapp.settings.oidc_settings import PASSWORD
from authapp.settings.settings import BACKEND_URL_MISSING, ISettings, Settings
from authapp.start_up import show_without_traceback
from authapp.version import __version__
from authapp.web.csrf import SessionCSRF
from authapp.web.events import (
    RenewalFailed,
    SessionEnded,
    SessionRenewed,
    SessionRevoked,
    SignedIn,
    SignedOut,
    SignInFailed,
)
from authapp.web.localization import negotiate_locale
from authapp.web.request_backend import BackendUnreachable
from authapp.web.responses import sign_in_required
from authapp.web.routes import STATIC
from authapp.web.security_policy import SessionSecurityPolicy

log = logging.getLogger(__name__)

__all__ = [
    "Backend",
    "BackendChallenge",
    "BackendDown",
    "BackendRejected",
    "BackendThrottled",
    "BackendUnavailable",
    "BackendUnreachable",
    "ChallengeExpired",
    "Credentials",
    "ErrorCode",
    "Identity",
    "Phase",
    "RenewalFailed",
    "Session",
    "SessionEnded",
    "SessionRenewed",
    "SessionRevoked",
    "SessionSecurityPolicy",
    "SettingsError",
    "SignInFailed",
    "SignedIn",
    "SignedOut",
    "TokenPair",
    "Validity",
    "__version__",
    "includeme",
    "main",
    "sign_in_required",
]


def main(global_config: dict[str, str], **settings: Any) -> Any:
    """Create the site ``egg:authapp``: authapp with a start page and an admin page.

    :param global_config: the section ``[DEFAULT]`` of the ini file. It is not used.
    :param settings: the settings in the application's section of the ini file.
    :returns: the WSGI application.
    :raises SettingsError: if any setting is wrong. The error lists all problems.
    """
    settings.setdefault("authapp.headers", "all")
    with Configurator(settings=settings) as config:
        config.include("authapp")
        config.include("authapp.web.views.pages")
        config.set_locale_negotiator(negotiate_locale)
        return config.make_wsgi_app()


def includeme(config: Configurator) -> None:
    """Add authapp to an application: ``config.include("authapp")``.

    With ``config.include("authapp", route_prefix="auth")``, all paths of authapp are below
    ``/auth``.

    :param config: the application's configurator. Its settings contain the ``authapp.`` keys.
    :raises SettingsError: if any setting is wrong. The error lists all problems.
    """
    show_without_traceback()
    settings = Settings.from_ini(config.registry.settings)
    if not asbool(config.registry.settings.get("jinja2.autoescape", True)):
        raise SettingsError(["jinja2.autoescape = false: authapp's pages require true"])
    config.registry.registerUtility(settings, ISettings)
    issuer = None
    if settings.backend_url == EMBEDDED:
        from authapp.issuer import main as make_issuer

        issuer = make_issuer({}, **config.registry.settings)
    prefix = f"/{config.route_prefix}" if config.route_prefix else ""
    # The renewal tween skips these paths. Load balancers request "health", and open pages request
    # "session_ended" regularly. Nobody uses a session by such a request, so it must not renew one.
    answers = (settings.paths[name] for name in ("health", "session_ended"))
    own_paths = (f"{prefix}/{STATIC}", *(prefix + path for path in answers if path))

    def register_services() -> None:
        registry = config.registry
        backend = registry.queryUtility(IBackend)
        passwords = PASSWORD in settings.login_methods
        if backend is None and settings.backend_url is None and passwords:
            raise SettingsError([BACKEND_URL_MISSING])
        registry.registerUtility(wire(settings, backend, own_paths, issuer), IServices)
        log.info("Starting: %s", summary(settings, backend))

    shown = config.introspectable("authapp", "settings", "settings", "authapp settings")
    shown.update(settings.shown)
    config.action("authapp", register_services, order=PHASE1_CONFIG, introspectables=(shown,))
    config.add_directive("set_auth_backend", _set_auth_backend)
    config.set_csrf_storage_policy(
        SessionCSRF(
            settings.secrets, secure=settings.cookie.secure, samesite=settings.cookie.samesite
        )
    )
    # Pyramid's own check of the origin is off, because authapp.web.csrf checks the origin.
    config.set_default_csrf_options(require_csrf=True, check_origin=False)
    config.include("pyramid_jinja2")
    for part in (
        "routes",
        "recent_auth",
        "static_files",
        "request_methods",
        "security_policy",
        "template_variables",
        "renewal_tween",
        "cors",
        "security_headers",
        "development_hosts",
        "request_ids",
        "audit_log",
        "localization",
        "session_watch",
        "views",
        "header_limits",  # the last of the tweens under INGRESS is the outermost
    ):
        config.include(f"authapp.web.{part}")
    if settings.edge.bearer:
        config.include("authapp.edge.bearer")
    if settings.edge.upstreams:
        config.include("authapp.edge.proxy")
    if settings.edge.verify:
        config.include("authapp.edge.verify")
    if settings.oidc is not None:
        config.include("authapp.oidc")
    if not settings.development:  # in development, a debugger shows the exceptions
        config.include("authapp.web.views.errors")


def _set_auth_backend(config: Configurator, backend: Backend) -> None:
    """Use the application's own backend object: ``config.set_auth_backend(obj)``.

    :param config: the configurator of the application.
    :param backend: an object with the methods of :class:`Backend`.
    """
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
