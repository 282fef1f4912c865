"""The outcome of a renewal: renewed, rejected or unavailable (contract section 3)."""

from dataclasses import dataclass

from authapp.session.error_codes import RETRY_AFTER, ErrorCode
from authapp.session.session import Session


@dataclass(frozen=True)
class Renewed:
    """The session continues as this one.

    ``asked`` is true only for the request that called the backend for it.
    """

    session: Session
    asked: bool = False


@dataclass(frozen=True)
class Rejected:
    """The session has ended, and why. ``asked`` as in :class:`Renewed`."""

    code: ErrorCode
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class Unavailable:
    """There is no answer. The session is kept; try again in ``retry_after`` seconds."""

    session: Session
    reason: str
    retry_after: float = RETRY_AFTER
    asked: bool = False


Outcome = Renewed | Rejected | Unavailable
