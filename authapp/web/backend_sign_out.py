"""The end of a session at the backend."""

from pyramid.request import Request

from authapp.backend.protocol import BackendRejected, BackendUnavailable
from authapp.renewal.sign_out import tokens_for_sign_out
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.session import Session
from authapp.web.retried_requests import once

log = request_log(__name__)


def revoke_at_backend(request: Request, session: Session) -> None:
    """Call the backend once to revoke a session's refresh token.

    A failure is only logged, because the store already has the revocation of the session.
    """
    once(request, ("revoke", session.tokens), lambda: _revoke(request, session))


def _revoke(request: Request, session: Session) -> None:
    services = services_of(request)
    try:
        renewal = services.renewal_of(session.tokens.issuer)
        renewal.backend.logout(tokens_for_sign_out(renewal, session))
    except (BackendRejected, BackendUnavailable) as error:
        why = f"{type(error).__name__}: {error}"
        log.warning("SignedOut: the backend did not revoke the refresh token: %s", why)
