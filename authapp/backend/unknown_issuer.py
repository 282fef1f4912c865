"""The backend of sessions whose tokens no configured backend or provider has issued."""

from authapp.backend.protocol import BackendRejected, Credentials
from authapp.session.session import TokenPair


class UnknownIssuer:
    """A :class:`~authapp.backend.protocol.Backend` that refuses everything.

    The settings once named the issuer of such tokens and no longer do. The tokens are secrets of
    that issuer, so they are sent to no other. The sessions end at their next renewal.
    """

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        raise BackendRejected("no backend for passwords is configured")

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        raise BackendRejected("the settings do not name the issuer of these tokens")

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
