"""Sign-in with OpenID Connect (contract section 9).

This room is optional. It is imported only if ``authapp.oidc.issuer`` is set, and no other room
imports it. It sends the browser to the provider and back, checks the ID token, and adds the
provider to :class:`authapp.services.Services`. A session that begins with such a sign-in is
renewed, revoked and written by the same code as the session of a user who typed a password.
"""

from pyramid.config import PHASE1_CONFIG, Configurator
from pyramid.registry import Registry

from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.token_reader import TokenReader
from authapp.oidc.metadata import Metadata
from authapp.oidc.provider_backend import ProviderBackend
from authapp.oidc.services import IOIDCServices, OIDCServices
from authapp.oidc.sign_out import sign_out_url
from authapp.oidc.start import start_path
from authapp.oidc.transaction import TransactionCookies
from authapp.services import IServices, Provider
from authapp.settings.settings import settings_of
from authapp.web.routes import add_own_route


def register_provider(registry: Registry) -> None:
    """Add the provider that the settings name to the services of an application."""
    settings = settings_of(registry)
    client = settings.oidc
    assert client is not None, "authapp includes this room only if oidc.issuer is set"  # noqa: S101
    services = registry.getUtility(IServices)
    metadata = Metadata(services.http, client.issuer, settings.development)
    backend = ProviderBackend(services.http, client, metadata)
    guarded = GuardedBackend(backend, services.store, settings.backend_bulkhead, "oidc")
    # Telemetry sets the observer of services.backend, perhaps later, so read it at each call.
    guarded.observer = lambda *what: services.backend.observer(*what)
    reader = TokenReader(
        settings.claims,
        None,
        None,
        settings.refresh_lifetime,
        settings.access_lifetime,
        settings.session_limits,
    )
    oidc = OIDCServices(
        client=client,
        metadata=metadata,
        backend=backend,
        guarded=guarded,
        reader=reader,
        cookies=TransactionCookies(settings.secrets, secure=settings.cookie.secure),
    )
    registry.registerUtility(oidc, IOIDCServices)
    services.providers[client.issuer] = Provider(
        renewal=services.create_renewal(guarded, reader),
        label=client.label,
        start=start_path,
        sign_out_url=sign_out_url,
        check=metadata.endpoints,
    )


def includeme(config: Configurator) -> None:
    """Add the provider that the settings name, and the routes and views of a sign-in with it."""
    config.action(
        "authapp.oidc", lambda: register_provider(config.registry), order=PHASE1_CONFIG + 1
    )
    for name, module in (
        ("login_oidc", "start"),
        ("login_oidc_callback", "callback"),
        ("logout_backchannel", "back_channel"),
    ):
        if add_own_route(config, name):
            config.scan(f"authapp.oidc.{module}")
