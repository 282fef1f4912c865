"""Asks the backend to revoke the refresh token of a session that has ended."""

from pyramid.request import Request

from authapp.backend.protocol import BackendRejected, BackendUnavailable
from authapp.renewal.sign_out import tokens_for_sign_out
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.session import Session
from authapp.web.retried_requests import once

log = request_log(__name__)


def revoke_at_backend(request: Request, session: Session) -> None:
    """Ask the backend to revoke a session's refresh token.

    If the backend does not do this, authapp only logs the failure. The store already has the
    revocation of the session, so authapp does not accept the session any more.
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
