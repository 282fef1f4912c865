"""The events of authapp. Subscribe to an event with ``config.add_subscriber``.

The ``repr`` of an event contains no token, password or secret.
"""

import re
import uuid
from dataclasses import dataclass, field

from pyramid.request import Request

from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity, Session


@dataclass(frozen=True)
class AuthEvent:
    """The base class of all events of authapp.

    :ivar request: the request in which the event happened.
    """

    request: Request = field(repr=False)


@dataclass(frozen=True)
class SessionEvent(AuthEvent):
    """The base class of the events that concern a session.

    :ivar session: the session.
    """

    session: Session = field(repr=False)

    @property
    def identity(self) -> Identity:
        """The user of the session."""
        return self.session.identity


@dataclass(frozen=True)
class SignedIn(SessionEvent):
    """Sent when a user has signed in."""


@dataclass(frozen=True)
class SignInFailed(AuthEvent):
    """Sent when an attempt to sign in has failed.

    :ivar username: the user name as typed.
    :ivar code: why the attempt failed.
    :ivar reason: details for the log, without secrets. It may be empty.
    """

    username: str
    code: ErrorCode
    reason: str = ""


@dataclass(frozen=True)
class SessionRenewed(SessionEvent):
    """Sent when the request has called the backend and renewed a session.

    ``session`` is the renewed session, with the new tokens.
    """


@dataclass(frozen=True)
class RenewalFailed(SessionEvent):
    """Sent when the request has called the backend and the renewal of a session has failed.

    :ivar code: ``BackendUnavailable`` if the session is kept, otherwise why the session ended.
    :ivar reason: details for the log, without secrets.
    """

    code: ErrorCode
    reason: str


@dataclass(frozen=True)
class SessionEnded(SessionEvent):
    """Sent when the session of a request has ended, unless the request itself is the sign-out.

    :ivar code: why the session ended.
    """

    code: ErrorCode


@dataclass(frozen=True)
class SignedOut(SessionEvent):
    """Sent when a user has signed out.

    :ivar everywhere: True if all sessions of the user were revoked. False if only the sessions of
        this browser were revoked.
    """

    everywhere: bool


def request_id(request: Request) -> str:
    """Return the id of a request: ``request.request_id``.

    :returns: the value of the ``X-Request-ID`` header. The value must have at most 64 characters,
        and only ``A-Z a-z 0-9 . _ -``. Otherwise, or if the header is missing, a random id.
    """
    given: str = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch("[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
