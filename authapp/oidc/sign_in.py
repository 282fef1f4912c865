"""The objects that the views of a sign-in use. They are created when the application starts."""

import threading
from dataclasses import dataclass

from pyramid.request import Request
from zope.interface import Interface

from authapp.backend.guarded_backend import GuardedBackend
from authapp.backend.token_reader import TokenReader
from authapp.oidc.metadata import Metadata
from authapp.oidc.provider_backend import ProviderBackend
from authapp.oidc.transaction import TransactionCookies
from authapp.settings.oidc_settings import OIDCSettings
from authapp.store.protocol import Key, Lease, Store
from authapp.web.begin_session import REMEMBER, read_choices
from authapp.web.recent_auth import MAX_AGE, read_max_age


class ISignIn(Interface):
    """The interface under which the Pyramid registry holds the :class:`SignIn`."""


class UseOnce:
    """Remembers values that may be used only once, in all processes that share the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def first(self, purpose: str, secret: str, seconds: float) -> bool:
        """Return True if a value is used for the first time.

        :param seconds: the seconds for which a second use returns False.
        """
        key = Key(purpose, secret)
        with self._lock, self._store.lease(key) as lease:
            if lease is Lease.THEIRS or self._store.get(key) != [None]:
                return False
            self._store.put(key, "1", seconds)
            return True


@dataclass(frozen=True)
class SignIn:
    """The objects that the views of a sign-in use. An application has one of each."""

    client: OIDCSettings
    metadata: Metadata
    backend: ProviderBackend
    guarded: GuardedBackend
    reader: TokenReader
    cookies: TransactionCookies
    once: UseOnce


def sign_in_of(request: Request) -> SignIn:
    """Return the objects of the application that handles a request."""
    found: SignIn = request.registry.getUtility(ISignIn)
    return found


def start_path(request: Request, target: str) -> str:
    """Return the path that sends the browser to the provider.

    :param target: the path or URL to which the user returns:
        see :func:`authapp.web.redirects.safe_next`.
    """
    query = {"next": target}
    max_age = read_max_age(request.params.get(MAX_AGE))
    if max_age is not None:
        query[MAX_AGE] = str(max_age)
    if read_choices(request).remember:
        query[REMEMBER] = "1"
    return str(request.route_path("authapp.login_oidc", _query=query))
