"""The tokens that authapp sends to the backend at a sign-out.

At a sign-out, some backends identify the session by its access token. If this token has expired,
such a backend responds as usual, but does not revoke the refresh token. So if the access token of a
session has expired, authapp renews the session once more before it signs out at such a backend.
"""

from concurrent.futures import Future

from authapp.backend.protocol import BackendUnavailable
from authapp.renewal.outcomes import Outcome, Rejected
from authapp.renewal.single_flight import Renewal, flight_name
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session, TokenPair
from authapp.store.protocol import Lease


def tokens_for_sign_out(renewal: Renewal, session: Session) -> TokenPair:
    """Return the tokens to send at a sign-out. Revoke the session in the store before this call.

    :returns: the tokens of the session, or new tokens if this function has renewed the session. It
        does not renew the session if another request or process may be spending the refresh token.
    :raises BackendRejected: if the backend refuses the refresh token.
    :raises BackendUnavailable: if the backend gives no usable response.
    """
    if not renewal.backend.logout_needs_access or renewal.is_valid(session):
        return session.tokens
    flight: Future[Outcome] = Future()
    if renewal.flights.setdefault(flight_name(session), flight) is not flight:
        return session.tokens
    try:
        with renewal.successors.lease(session) as lease:
            known = renewal.successors.look_up(session)
            sure = lease is Lease.MINE and renewal.successors.may_spend_in(session, lease) == 0
            if not sure or known.successor is not None or known.failed is not None:
                return session.tokens
            return renewal.backend.refresh(session.tokens, str(session.identity.id))
    except BackendUnavailable as error:
        if error.tokens is None:
            raise
        return error.tokens
    finally:
        renewal.flights.pop(flight_name(session))
        flight.set_result(Rejected(ErrorCode.SESSION_REVOKED, "signed out meanwhile"))
