"""The events that subscribers can hear (``config.add_subscriber``).

The ``repr`` of an event holds no token, password or secret.
"""

import re
import uuid
from dataclasses import dataclass, field

from pyramid.request import Request

from authapp.session.error_codes import ErrorCode
from authapp.session.session import Identity, Session


@dataclass(frozen=True)
class AuthEvent:
    """Anything that authapp tells its subscribers."""

    request: Request = field(repr=False)


@dataclass(frozen=True)
class SessionEvent(AuthEvent):
    """Something happened to a session."""

    session: Session = field(repr=False)

    @property
    def identity(self) -> Identity:
        """The user whose session it is."""
        return self.session.identity


@dataclass(frozen=True)
class SignedIn(SessionEvent):
    """A user signed in."""


@dataclass(frozen=True)
class SignInFailed(AuthEvent):
    """An attempt to sign in failed."""

    username: str
    code: ErrorCode


@dataclass(frozen=True)
class SessionRenewed(SessionEvent):
    """A refresh token was spent, and the session has new tokens."""


@dataclass(frozen=True)
class RenewalFailed(SessionEvent):
    """A renewal failed: the backend rejected the refresh token or gave no answer."""

    code: ErrorCode
    reason: str


@dataclass(frozen=True)
class SessionEnded(SessionEvent):
    """The session of this request has ended, and not by a sign-out in this request."""

    code: ErrorCode


@dataclass(frozen=True)
class SignedOut(SessionEvent):
    """A user signed out, of this session or of all sessions (``everywhere``)."""

    everywhere: bool


def request_id(request: Request) -> str:
    """``request.request_id``: the proxy's ``X-Request-ID``, or else a random id."""
    given: str = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch("[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex
