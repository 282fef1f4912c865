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
class _Orders:
    """What a test has told one verb to do."""

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
        self._orders = {verb: _Orders() for verb in VERBS}
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
        """Add a user who can sign in by the form, or change the claims of this user.

        :param id: the user's id. Later renewals of this user's sessions return the new claims.
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
        orders = self._order(verb)
        orders.error, orders.times = error or BackendUnavailable("told to fail"), times

    def slow(self, verb: str, seconds: float) -> None:
        """Make a verb respond some seconds late."""
        self._order(verb).seconds = seconds

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
        """Make verbs work again, and let calls continue that wait because of :meth:`held`.

        :param verbs: the verbs. Without verbs, all of them.
        """
        for verb in verbs or self._orders:
            released = self._order(verb).released
            self._orders[verb] = _Orders()
            released.set()

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.Backend`."""
        self._obey("login")
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
        self._obey("challenge")
        name = self._challenged.get(state)
        if name is None:
            raise ChallengeExpired("no such state, or it was used")
        if code != self._codes[name]:
            raise BackendRejected("another code")
        del self._challenged[state]
        return self._issue(self._claims[name])

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.Backend`."""
        self._obey("refresh")
        self._redeem(tokens.refresh, spend=self.rotates)
        claims = claims_of(tokens)
        for known in self._claims.values():
            if known["sub"] == claims["sub"]:
                claims = known
        new = self._issue(claims)
        return new if self.rotates else TokenPair(new.access, tokens.refresh)

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.Backend`."""
        self._obey("logout")
        self._redeem(tokens.refresh, spend=True)

    def _order(self, verb: str) -> _Orders:
        if verb not in self._orders:
            raise ValueError(f"there is no verb {verb!r}, but {', '.join(self._orders)}")
        return self._orders[verb]

    def _obey(self, verb: str) -> None:
        """Count a call. Then wait or raise an error, if the test has told the verb to do so."""
        with self._lock:
            self.calls[verb] += 1
            orders = self._orders[verb]
        released = orders.released.wait(min(orders.seconds, self.timeout))
        if not released and orders.seconds > self.timeout:
            raise BackendDown(f"no response within {self.timeout} s")
        with self._lock:
            if orders.times is not None:
                orders.times -= 1
            error = orders.error if orders.times is None or orders.times >= 0 else None
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
