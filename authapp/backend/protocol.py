"""The interface of a backend: three verbs, and the errors that they raise.

Any object with these verbs can be your own backend. Set it with ``config.set_auth_backend(obj)``.
Several threads may call the object at the same time.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from authapp.session.session import TokenPair

MAX_STATE = 1024
"""The most characters in the state of a challenge. The state has to fit into one cookie."""

LATE = 30.0
"""For this many seconds after a refresh was sent, a thread waits for the response.

The browser's request waits only ``backend.timeout`` seconds."""


@dataclass(frozen=True)
class Credentials:
    """What a user types to sign in, exactly as typed."""

    username: str
    password: str = field(repr=False)
    address: str | None = None
    """The visitor's address, as the server reports it."""


class BackendRejected(Exception):
    """The backend refuses a sign-in or a renewal: a wrong password or a revoked token, for example.

    :param words: the backend's own words for the user, without anything secret. The sign-in page
        shows these words if ``authapp.login.show_reason`` is true.
    """

    def __init__(self, reason: str = "", words: str = "") -> None:
        super().__init__(reason)
        self.words = words


class AccountLocked(BackendRejected):
    """The account is locked or disabled."""


class AccountIncomplete(BackendRejected):
    """The account needs something first, such as a verified email address or a new password."""


class ChallengeExpired(BackendRejected):
    """The backend no longer accepts the state of a challenge. The sign-in has to begin again."""


class BackendChallenge(Exception):
    """The backend accepts the password and asks for a second step, such as a one-time code.

    :param state: what the backend needs to continue this sign-in, at most :data:`MAX_STATE`
        printable ASCII characters. The state is a secret: the browser gets it only in an encrypted
        cookie.
    :param kind: what the backend asks for. The template of the page gets this value.
    """

    def __init__(self, state: str, kind: str = "code") -> None:
        super().__init__(kind)
        self.state = state
        self.kind = kind


class BackendUnavailable(Exception):
    """The backend gave no usable response.

    :param reason: what was wrong, for the log, without anything secret.
    :param retry_after: the seconds of the backend's ``Retry-After``, or None.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        #: New tokens, if the call failed after the backend had issued them. They must not be lost.
        self.tokens: TokenPair | None = None


class BackendDown(BackendUnavailable):
    """The backend is down for all users: it refuses connections, hangs, or is in maintenance.

    :param late: the future of a late response to a refresh. No request waits for this response any
        more, but the backend may still spend the token and respond. None: no response can come.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        late: "Future[TokenPair] | None" = None,
    ) -> None:
        super().__init__(reason, retry_after)
        self.late = late


class NoResponse(BackendDown):
    """The backend did not respond in time, or the connection was closed before the response."""


class ConnectionFailed(BackendDown):
    """No connection to the backend can be made: refused, no such host, TLS."""


class CallNotPermitted(BackendDown):
    """The backend was not called: its circuit breaker is open, or its bulkhead is full."""


class CallCancelled(BackendDown):
    """The backend was called, but too many requests wait. So this request no longer waits."""


class UnexpectedAnswer(BackendUnavailable):
    """The backend responded, but the settings do not describe this response.

    The text of this error describes the response, and names the setting to look at. The log shows
    the name of this class and the text.

    :param refusal: True if the response is a 4xx or a JSON object, which shows that the backend is
        up. Any other response, such as an HTML page, may come from a gateway.
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

    If a verb fails, it raises :class:`BackendRejected` or :class:`BackendUnavailable`. If the
    backend is down for all users, it raises the subclass :class:`BackendDown`.

    A backend may also have the method ``reach()``, which ``/health?deep=1`` calls at most once a
    second. If the backend is not up, ``reach()`` raises :class:`BackendUnavailable`.

    If the ``login`` of a backend raises :class:`BackendChallenge`, the backend also needs the
    method ``challenge(state, code)``, which returns the tokens. It may raise:

    - :class:`BackendRejected` for a wrong code,
    - :class:`ChallengeExpired` if the sign-in has to begin again,
    - :class:`BackendChallenge` for a further step.
    """

    def login(self, credentials: Credentials) -> TokenPair:
        """Return tokens for a user name and a password."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """Exchange a refresh token for new tokens.

        If the backend rotates refresh tokens, the old refresh token is not valid after this call.
        If the backend does not rotate them, the result has the old refresh token.
        """

    def logout(self, tokens: TokenPair) -> None:
        """Revoke the refresh token."""
