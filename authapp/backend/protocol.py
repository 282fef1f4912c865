"""What a backend is: three verbs, and the ways in which each can fail.

Your own backend is any object with these verbs. Set it by ``config.set_auth_backend(obj)``.
Many threads call it at once.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from authapp.session.session import TokenPair

MAX_STATE = 1024
"""The most characters in the state of a challenge. It has to fit into one cookie."""

LATE = 30.0
"""Seconds for which a late response to a refresh is awaited after its request has ended."""


@dataclass(frozen=True)
class Credentials:
    """What a person types to sign in, exactly as typed."""

    username: str
    password: str = field(repr=False)
    address: str | None = None
    """The visitor's address, as the server reports it."""


class BackendRejected(Exception):
    """The backend answered "no": a wrong password, a revoked token.

    :param words: the backend's own words for the person, without anything secret. The sign-in page
        shows them if ``authapp.login.show_reason`` is true.
    """

    def __init__(self, reason: str = "", words: str = "") -> None:
        super().__init__(reason)
        self.words = words


class AccountLocked(BackendRejected):
    """The account is locked or disabled."""


class AccountIncomplete(BackendRejected):
    """The account needs something first: a verified e-mail address, a new password."""


class ChallengeExpired(BackendRejected):
    """The backend no longer accepts the state of a challenge. The sign-in has to begin again."""


class BackendChallenge(Exception):
    """The backend accepts the password and asks for a second step, such as a one-time code.

    :param state: what the backend needs to continue this sign-in, at most :data:`MAX_STATE`
        printable ASCII characters. It is a secret: the person gets it only in an encrypted cookie.
    :param kind: what the backend asks for. The page's template gets it.
    """

    def __init__(self, state: str, kind: str = "code") -> None:
        super().__init__(kind)
        self.state = state
        self.kind = kind


class BackendUnavailable(Exception):
    """The backend gave no usable answer about the user.

    :param reason: what was wrong, for the log, without anything secret.
    :param retry_after: seconds after which to try again, if the backend said so.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        #: New tokens that came although the call failed after that. They must not be lost.
        self.tokens: TokenPair | None = None


class BackendDown(BackendUnavailable):
    """The backend is down for all users: it refuses connections, hangs, or is in maintenance.

    :param late: the response to a refresh whose request has stopped waiting. The backend may
        have spent the token and answer later.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        late: "Future[TokenPair] | None" = None,
    ) -> None:
        super().__init__(reason, retry_after)
        self.late = late


class ConnectionFailed(BackendDown):
    """No connection to the backend can be made: refused, no such host, TLS."""


class CallNotPermitted(BackendDown):
    """The backend was not called: its circuit breaker is open, or its bulkhead is full."""


class UnexpectedAnswer(BackendUnavailable):
    """The backend answered, but the settings do not describe that response.

    It is logged under this name. The text describes the response, and names a setting to look at.

    :param refusal: whether the response refuses something: 4xx, or a JSON object. Anything else,
        such as a page in HTML, may mean that something answers in place of the backend.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, *, refusal: bool = True
    ) -> None:
        super().__init__(reason, retry_after)
        self.refusal = refusal


class BackendThrottled(BackendUnavailable):
    """The backend is up and asks for fewer calls (429)."""


class Backend(Protocol):
    """The three verbs.

    Each raises :class:`BackendRejected` or :class:`BackendUnavailable`, or
    :class:`BackendDown` if no call of any user would get an answer right now.

    A backend may also have ``reach()``, which ``/health?deep=1`` calls at most once a second.
    It returns if the backend is up and raises :class:`BackendUnavailable` if it is not.

    A backend whose ``login`` raises :class:`BackendChallenge` also has ``challenge(state, code)``,
    which returns the tokens. It raises :class:`BackendRejected` for a wrong code,
    :class:`ChallengeExpired`, or :class:`BackendChallenge` for a further step.
    """

    def login(self, credentials: Credentials) -> TokenPair:
        """Return tokens for a user name and a password."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """Exchange a refresh token for new tokens.

        The backend may make the old refresh token worthless (rotation). If it does not rotate
        refresh tokens, the result has the same refresh token again.
        """

    def logout(self, tokens: TokenPair) -> None:
        """Make the refresh token worthless."""
