"""The outcomes of a renewal: renewed, rejected and unavailable (contract section 3)."""

from dataclasses import dataclass

from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Session


@dataclass(frozen=True)
class Renewed:
    """The session was renewed, or is used unchanged.

    :param session: the session to use from now on.
    :param asked: True only for the request that called the backend.
    """

    session: Session
    asked: bool = False


@dataclass(frozen=True)
class Rejected:
    """The session has ended.

    :param code: the error code that the user gets.
    :param reason: the reason, for the log.
    :param asked: True only for the request that called the backend.
    """

    code: ErrorCode
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class Unavailable:
    """The session could not be renewed now. The session has not ended.

    :param session: the session to keep in the cookie.
    :param reason: the reason, for the log.
    :param retry_after: seconds after which to try again.
    :param asked: True only for the request that called the backend.
    """

    session: Session
    reason: str
    retry_after: float = RETRY_AFTER
    asked: bool = False


Outcome = Renewed | Rejected | Unavailable
"""The outcome of a renewal."""
