"""The objects that the views of OpenID Connect use. Each application has its own.

They are created when the application starts: see :func:`authapp.oidc.register_provider`.
"""

from dataclasses import dataclass

from pyramid.request import Request
from zope.interface import Interface

from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.token_reader import TokenReader
from authapp.oidc.metadata import Metadata
from authapp.oidc.provider_backend import ProviderBackend
from authapp.oidc.transaction import TransactionCookies
from authapp.settings.oidc_settings import OIDCSettings


class IOIDCServices(Interface):
    """The interface under which the Pyramid registry holds the :class:`OIDCServices`."""


@dataclass(frozen=True)
class OIDCServices:
    """The objects that the views of OpenID Connect use. Each application has its own."""

    client: OIDCSettings
    metadata: Metadata
    backend: ProviderBackend
    guarded: GuardedBackend
    reader: TokenReader
    cookies: TransactionCookies


def oidc_services_of(request: Request) -> OIDCServices:
    """Return the objects of the application that handles a request."""
    found: OIDCServices = request.registry.getUtility(IOIDCServices)
    return found
