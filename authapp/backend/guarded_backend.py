"""The backend behind its circuit breaker: what renewal, sign-in and sign-out call."""

import threading
import time
from contextlib import suppress

from authapp.backend.circuit_breaker import CircuitBreaker
from authapp.backend.protocol import (
    Backend,
    BackendThrottled,
    BackendUnavailable,
    Credentials,
)
from authapp.session.session import TokenPair

REACH_EVERY = 1.0
"""Seconds for which the result of a health check is reused."""


class GuardedBackend:
    """A backend that is called through a circuit breaker."""

    def __init__(self, backend: Backend, breaker: CircuitBreaker) -> None:
        self._backend = backend
        self.breaker = breaker
        self._reaching = threading.Lock()
        self._reach_again = 0.0
        self._reached = True

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        with self.breaker.call():
            try:
                return _checked(self._backend.login(credentials))
            except BackendThrottled as error:
                throttled = error  # it concerns this sign-in only, and stops no renewal
        raise throttled

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        with self.breaker.call(tokens):
            return _checked(self._backend.refresh(tokens))

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
        with self.breaker.call():
            self._backend.logout(tokens)

    def reach(self) -> bool:
        """Whether the backend answered a health check within the last second.

        A backend without ``reach()`` is as the breaker last saw it. The result does not change
        the breaker: anybody can ask for a health check, and a backend that answers one may
        still hang when it has to renew something.
        """
        reach = getattr(self._backend, "reach", None)
        if reach is None:
            return self.breaker.closed
        if self._reaching.acquire(blocking=False):
            try:
                if time.monotonic() >= self._reach_again:
                    self._reached = False
                    with suppress(BackendUnavailable):
                        reach()
                        self._reached = True
                    self._reach_again = time.monotonic() + REACH_EVERY
            finally:
                self._reaching.release()
        return self._reached


def _checked(answer: object) -> TokenPair:
    """What a backend returned, if it is a usable pair of tokens.

    :raises TypeError: if it is not, which is a bug in an application's own backend.
    """
    if not isinstance(answer, TokenPair):
        raise TypeError("no TokenPair")
    texts = (answer.access, answer.refresh)
    seconds = (answer.expires_in, answer.refresh_expires_in)
    if not all(isinstance(each, str) and each for each in texts):
        raise TypeError("a token that is no text")
    if not all(each is None or type(each) is int for each in seconds):
        raise TypeError("a lifetime that is no whole number")
    return answer
