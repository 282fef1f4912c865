"""The backend: three verbs, and the two ways in which each can fail.

A backend of your own is any object with these verbs, set by
``config.set_auth_backend(obj)``. It is called by many threads at once.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from authapp.session import TokenPair

LATE = 30.0
"""Seconds for which the answer to a refresh is received that nobody waits for any more."""


@dataclass(frozen=True)
class Credentials:
    """What a person types to sign in, exactly as typed."""

    username: str
    password: str = field(repr=False)


class BackendRejected(Exception):
    """The backend answered, and the answer is no: wrong password, revoked token."""


class BackendUnavailable(Exception):
    """The backend gave no answer that means anything about the user.

    :param reason: for the log: what was wrong, without anything secret.
    :param retry_after: seconds after which to try again, where the backend named them.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class BackendDown(BackendUnavailable):
    """The backend gives nobody an answer: it refuses connections, hangs, is in maintenance.

    :param late: what becomes of a refresh that nobody waits for any more: the backend may
        have spent the token, and say so later.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        late: "Future[TokenPair] | None" = None,
    ) -> None:
        super().__init__(reason, retry_after)
        self.late = late


class BackendLeftAlone(BackendDown):
    """The backend was not asked: it is known to be down, or has been silent for a while."""


class BackendThrottled(BackendUnavailable):
    """The backend is well, and wants fewer calls (429)."""


class Backend(Protocol):
    """The three verbs.

    Each raises :class:`BackendRejected`, :class:`BackendUnavailable` or, of the latter,
    :class:`BackendDown` where asking again, for anybody, would only hold another thread.

    A backend may also have ``reach()``, which ``/health?deep=1`` calls, once a second at the
    most: it returns if the backend lives, and raises :class:`BackendUnavailable` if not.
    """

    def login(self, credentials: Credentials) -> TokenPair:
        """Tokens for somebody who signs in."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """New tokens for a refresh token, which may be spent by it.

        A backend that does not rotate returns the refresh token it was given.
        """

    def logout(self, tokens: TokenPair) -> None:
        """Make the refresh token worthless."""
