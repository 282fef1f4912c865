"""A backend in memory. A test can make its verbs fail, be slow, or ask for a second step."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from authapp.backend.protocol import (
    BackendChallenge,
    BackendDown,
    BackendRejected,
    BackendUnavailable,
    ChallengeExpired,
    Credentials,
)
from authapp.session.session import TokenPair
from authapp.testing.tokens import (
    ACCESS_LIFETIME,
    REFRESH_LIFETIME,
    claims_of,
    issue,
    refresh_until,
)

VERBS = ("login", "challenge", "refresh", "logout")
"""The verbs that a test can control."""


@dataclass
class _Behaviour:
    """What a test has set one verb to do."""

    error: Exception | None = None
    times: int | None = None  # how often it fails; None: always
    seconds: float = 0.0
    released: threading.Event = field(default_factory=threading.Event)


class MemoryBackend:
    """A :class:`authapp.Backend` without a network. Many threads may call it at once.

    This backend renews its own sessions and those of :func:`authapp.testing.sign_in`. If
    ``rotates`` is True, it accepts each refresh token once.

    :param access_lifetime: seconds for which an access token is valid.
    :param refresh_lifetime: seconds for which a refresh token is valid.
    :param timeout: a verb that is slow or held raises ``BackendDown`` after this many seconds, like
        the client of a real backend.
    :ivar rotates: True if a renewal returns a new refresh token and spends the old one.
    :ivar calls: how often each verb was called: ``login``, ``challenge``, ``refresh``, ``logout``.
    """

    def __init__(
        self,
        *,
        access_lifetime: int = ACCESS_LIFETIME,
        refresh_lifetime: int = REFRESH_LIFETIME,
        rotates: bool = True,
        timeout: float = 5.0,
    ) -> None:
        self.access_lifetime = access_lifetime
        self.refresh_lifetime = refresh_lifetime
        self.rotates = rotates
        self.timeout = timeout
        self.calls: Counter[str] = Counter()
        self._passwords: dict[str, str] = {}
        self._claims: dict[str, dict[str, Any]] = {}
        self._codes: dict[str, str | None] = {}
        self._challenged: dict[str, str] = {}
        self._spent: set[str] = set()
        self._behaviours = {verb: _Behaviour() for verb in VERBS}
        self._lock = threading.Lock()

    def add_user(
        self,
        name: str,
        password: str,
        *,
        id: int | str = 1,
        code: str | None = None,
        **claims: Any,
    ) -> None:
        """Add a user who can sign in by the form, or replace the user with this name.

        After a replacement with the same ``id``, renewals of this user return the new claims.

        :param id: the user's id.
        :param code: the code that this user needs in a second step. None: the password is enough.
        :param claims: claims of the access token: ``email``, ``roles`` (a list), ``scope`` (a
            string), or the claims that ``authapp.claims.*`` name.
        """
        self._passwords[name], self._codes[name] = password, code
        self._claims[name] = {"sub": id, "name": name, **claims}

    def fail(self, verb: str, error: Exception | None = None, *, times: int | None = None) -> None:
        """Make a verb raise an error.

        :param verb: one of :data:`VERBS`.
        :param error: the error. None: ``BackendUnavailable``. A ``BackendRejected`` from a renewal
            ends the session.
        :param times: how many calls fail. None: all calls until :meth:`recover`.
        """
        behaviour = self._behaviour(verb)
        behaviour.error, behaviour.times = error or BackendUnavailable("set to fail"), times

    def slow(self, verb: str, seconds: float) -> None:
        """Make a verb respond some seconds late."""
        self._behaviour(verb).seconds = seconds

    @contextmanager
    def held(self, verb: str) -> Iterator[None]:
        """Make calls of a verb wait until the ``with`` block ends, but at most ``timeout`` seconds.

        After ``timeout`` seconds, a call raises ``BackendDown``.
        """
        self.slow(verb, float("inf"))
        try:
            yield
        finally:
            self.recover(verb)

    def recover(self, *verbs: str) -> None:
        """Make verbs work again. Calls that wait because of :meth:`held` continue.

        :param verbs: the verbs. Without verbs, all of them.
        """
        for verb in verbs or self._behaviours:
            released = self._behaviour(verb).released
            self._behaviours[verb] = _Behaviour()
            released.set()

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.Backend`."""
        self._apply("login")
        name = credentials.username
        if name not in self._passwords or self._passwords[name] != credentials.password:
            raise BackendRejected("no such user, or another password")
        if self._codes[name] is not None:
            state = secrets.token_urlsafe(8)
            self._challenged[state] = name
            raise BackendChallenge(state)
        return self._issue(self._claims[name])

    def challenge(self, state: str, code: str) -> TokenPair:
        """See :class:`authapp.Backend`."""
        self._apply("challenge")
        name = self._challenged.get(state)
        if name is None:
            raise ChallengeExpired("no such state, or it was used")
        if code != self._codes[name]:
            raise BackendRejected("another code")
        del self._challenged[state]
        return self._issue(self._claims[name])

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.Backend`."""
        self._apply("refresh")
        self._redeem(tokens.refresh, spend=self.rotates)
        claims = claims_of(tokens)
        for known in self._claims.values():
            if known["sub"] == claims["sub"]:
                claims = known
        new = self._issue(claims)
        return new if self.rotates else TokenPair(new.access, tokens.refresh)

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.Backend`."""
        self._apply("logout")
        self._redeem(tokens.refresh, spend=True)

    def _behaviour(self, verb: str) -> _Behaviour:
        if verb not in self._behaviours:
            raise ValueError(f"there is no verb {verb!r}, but {', '.join(self._behaviours)}")
        return self._behaviours[verb]

    def _apply(self, verb: str) -> None:
        """Count a call. Then wait or raise an error, if the test has set the verb to do so."""
        with self._lock:
            self.calls[verb] += 1
            behaviour = self._behaviours[verb]
        released = behaviour.released.wait(min(behaviour.seconds, self.timeout))
        if not released and behaviour.seconds > self.timeout:
            raise BackendDown(f"no response within {self.timeout} s")
        with self._lock:
            if behaviour.times is not None:
                behaviour.times -= 1
            error = behaviour.error if behaviour.times is None or behaviour.times >= 0 else None
        if error is not None:
            raise error

    def _issue(self, claims: dict[str, Any]) -> TokenPair:
        now = int(time.time())
        return issue(claims, now + self.access_lifetime, now + self.refresh_lifetime)

    def _redeem(self, token: str, *, spend: bool) -> None:
        """Accept a refresh token.

        :param spend: True if the token must not be accepted again.
        :raises BackendRejected: if the token was spent, has expired, or is unknown.
        """
        with self._lock:
            if refresh_until(token) <= time.time() or token in self._spent:
                raise BackendRejected("a refresh token that is unknown, expired or spent")
            if spend:
                self._spent.add(token)
