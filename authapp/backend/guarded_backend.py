"""The backend behind its circuit breakers: renewal, sign-in and sign-out use this object."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from authapp.backend.bulkhead import Bulkhead, Waits
from authapp.backend.circuit_breaker import CircuitBreaker
from authapp.backend.load_shedding import LoadShedding
from authapp.backend.observation import Observer, unobserved
from authapp.backend.protocol import (
    MAX_STATE,
    Backend,
    BackendChallenge,
    BackendThrottled,
    BackendUnavailable,
    ConnectionFailed,
    Credentials,
)
from authapp.session.session import TokenPair
from authapp.store.protocol import Store

VERBS = ("refresh", "login", "logout", "call")
"""The names of the circuit breakers: the three verbs, and ``call`` for ``request.backend``."""

REACH_EVERY = 1.0
"""Seconds for which the result of a health check is reused."""


class GuardedBackend:
    """Wraps a backend. Each verb (login, refresh, logout, call) has its own circuit breaker.

    At most ``slots`` requests of this process may wait for a slow backend at a time. Half of the
    slots are only for renewals, so that authapp can still send renewals while sign-ins hang.

    :param slots: how many requests may wait. If it is 1, there are two slots after all: one for
        renewals, and one for other calls.
    :param name: the name of this backend in the log and in the store. The name is empty for the
        backend of ``backend.url``.
    :ivar observer: every call of a verb runs inside this observer. Its name for such a call is
        ``backend.call``.
    """

    observer: Observer = staticmethod(unobserved)

    def __init__(self, backend: Backend, store: Store, slots: int, name: str = "") -> None:
        self._backend = backend
        waits = Waits(slots)
        others = Bulkhead(max(1, slots // 2), waits=waits)
        renewals = Bulkhead(max(1, slots - slots // 2), waits=waits)
        self._shedding = LoadShedding(waits)
        self.breakers = {
            verb: CircuitBreaker(
                store, renewals if verb == "refresh" else others, verb=f"{name} {verb}".strip()
            )
            for verb in VERBS
        }
        self._reaching = threading.Lock()
        self._reach_again = 0.0
        self._reached = True

    def replace(self, backend: Backend) -> None:
        """Call another backend from now on, with all circuit breakers closed. Tests use this."""
        self._backend = backend
        for breaker in self.breakers.values():
            breaker.close()

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker of renewals."""
        return self.breakers["refresh"]

    @property
    def refreshes(self) -> bool:
        """True if the backend has a verb that refreshes tokens."""
        return getattr(self._backend, "refreshes", True)

    @property
    def logout_needs_access(self) -> bool:
        """True if a logout needs a valid access token, and the backend can renew an expired one."""
        return self.refreshes and getattr(self._backend, "logout_needs_access", False)

    @contextmanager
    def calling(
        self,
        verb: str,
        renewed: TokenPair | None = None,
        user: str | None = None,
        *,
        can_be_cancelled: bool = False,
    ) -> Iterator[None]:
        """Enter this context around every call of a verb.

        If no connection to the backend can be made, the circuit breakers of all verbs are opened.

        :raises CallNotPermitted: as :meth:`authapp.backend.circuit_breaker.CircuitBreaker.call`.
        """
        shedding = self._shedding if can_be_cancelled else None
        call = self.breakers[verb].call(renewed, user, shedding)
        try:
            with self.observer("backend.call", {"verb": verb}), call:
                yield
        except ConnectionFailed as error:
            for name, breaker in self.breakers.items():
                if name != verb:
                    breaker.open(error, quiet=True)
            raise

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        return self.sign_in(lambda: self._backend.login(credentials))

    def challenge(self, state: str, code: str) -> TokenPair:
        """Send the code of a second step: see :class:`~authapp.backend.protocol.BackendChallenge`.

        :param state: the state of the challenge.
        :param code: the code that the user has entered.
        :raises Exception: as :meth:`authapp.backend.protocol.Backend.login`.
        """
        backend: Any = self._backend
        return self.sign_in(lambda: backend.challenge(state, code))

    def sign_in(self, call: Callable[[], TokenPair]) -> TokenPair:
        """Call a function that signs a user in, through the breaker of sign-ins."""
        with self.calling("login"):
            try:
                return _checked(call())
            except BackendThrottled as error:
                throttled = error  # it concerns this sign-in only, and must not open the breaker
            except BackendChallenge as challenge:
                _check_state(challenge.state)
                raise
        raise throttled

    def refresh(self, tokens: TokenPair, user: str | None = None) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`.

        :param user: the id of the user whose session is renewed.
        """
        with self.calling("refresh", tokens, user):
            return _checked(self._backend.refresh(tokens))

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
        with self.calling("logout"):
            self._backend.logout(tokens)

    def reach(self) -> bool:
        """Return True if the backend has responded to the last health check.

        A health check calls the backend's method ``reach()``, at most once a second. For a backend
        without this method, the result is True if all its circuit breakers are closed.

        A health check does not change the state of a breaker, for two reasons. A backend that
        responds to a health check may still hang at a renewal, and any client can cause a health
        check.
        """
        reach = getattr(self._backend, "reach", None)
        if reach is None:
            return all(breaker.closed for breaker in self.breakers.values())
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


def _check_state(state: object) -> None:
    """Check the state of a challenge.

    :raises TypeError: if the state cannot be used. This is a bug in an application's own backend.
    """
    if not isinstance(state, str) or not 0 < len(state) <= MAX_STATE:
        raise TypeError("a state that is no text, or too long")
    if not (state.isascii() and state.isprintable()):
        raise TypeError("a state with other characters than printable ASCII")


def _checked(answer: object) -> TokenPair:
    """Return the result of a backend's verb, after checking that it is a usable token pair.

    :raises TypeError: if the result is not usable. This is a bug in an application's own backend.
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
