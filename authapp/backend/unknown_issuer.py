"""The backend of sessions whose tokens no configured backend or provider has issued."""

from authapp.backend.protocol import BackendRejected, Credentials
from authapp.session.session import TokenPair


class UnknownIssuer:
    """A :class:`~authapp.backend.protocol.Backend` that refuses sign-ins and renewals.

    It is used for sessions whose tokens come from an issuer that is no longer in the settings. The
    tokens are secrets, so they are not sent to another issuer. The sessions end at the next
    renewal.
    """

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        raise BackendRejected("no backend for passwords is configured")

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        raise BackendRejected("the settings do not name the issuer of these tokens")

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
