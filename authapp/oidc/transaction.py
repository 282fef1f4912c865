"""The transaction of one sign-in, from the redirect to the provider until the callback.

The transaction is kept in an encrypted cookie, so that only the browser that began the sign-in can
finish it. Each transaction has a separate cookie, so that two tabs can sign in at the same time.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from pyramid.request import Request
from pyramid.response import Response

from authapp.session.sealed_value import SealedValue
from authapp.web.begin_session import Choices

LIFETIME = 600
"""Seconds within which the user must come back from the provider."""

MOST = 3
"""How many transactions one browser may have at a time. A further transaction replaces the
oldest."""

_PREFIX = "authapp.oidc."


@dataclass(frozen=True)
class Transaction:
    """One sign-in that has begun.

    :param state: binds the callback to this browser (RFC 6749 section 10.12).
    :param nonce: binds the ID token to this sign-in.
    :param verifier: the PKCE code verifier (RFC 7636 section 4.1).
    :param target: the path or URL to which the user returns:
        see :func:`authapp.web.redirects.safe_next`.
    :param redirect_uri: the URL of the callback. The token endpoint must get this URL again.
    :param max_age: the ``max_age`` of the authorization request, or None.
    :param began: seconds since the epoch.
    :param remember: see :class:`authapp.web.begin_session.Choices`.
    :param again: see :class:`authapp.web.begin_session.Choices`.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    target: str
    redirect_uri: str
    max_age: int | None
    began: float
    remember: bool | None
    again: bool

    @classmethod
    def begin(
        cls, target: str, redirect_uri: str, max_age: int | None, now: float, choices: Choices
    ) -> "Transaction":
        """Return a new transaction, with random state, nonce and verifier."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(
            state,
            nonce,
            verifier,
            target,
            redirect_uri,
            max_age,
            now,
            choices.remember,
            choices.again,
        )

    @property
    def choices(self) -> Choices:
        """What the user has chosen for the session, and when the sign-in began."""
        return Choices(self.remember, self.again, self.began)

    @property
    def challenge(self) -> str:
        """The PKCE code challenge, by the method S256 (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class TransactionCookies:
    """Writes transactions to cookies, and reads them.

    :param keys: the secrets. The first secret encrypts. Each of the secrets can decrypt.
    :param secure: True if the browser sends the cookies over https only. The names of the cookies
        then have the prefix ``__Host-``, so that no sibling domain can plant a transaction.
    """

    def __init__(self, keys: Sequence[bytes], *, secure: bool) -> None:
        self._sealed = SealedValue(keys, "oidc transaction", LIFETIME)
        self._secure = secure
        self._prefix = f"__Host-{_PREFIX}" if secure else _PREFIX

    def write(self, request: Request, response: Response, transaction: Transaction) -> None:
        """Set the cookie of a new transaction, and clear cookies of old transactions.

        Cookies that have expired or cannot be decrypted are cleared. If the browser would have more
        than :data:`MOST` transactions, the cookies of the oldest ones are cleared too.
        """
        others = {
            name: self._open(value)
            for name, value in request.cookies.items()
            if name.startswith(self._prefix)
        }
        began = {name: found.began for name, found in others.items() if found is not None}
        kept = sorted(began, key=lambda name: began[name])[1 - MOST :]
        for name in others.keys() - set(kept):
            self._set(response, name, "", 0)
        sealed = self._sealed.seal(asdict(transaction))
        self._set(response, self._name(transaction.state), sealed, LIFETIME)

    def take(self, request: Request, response: Response, state: str) -> Transaction | None:
        """Return the transaction of a ``state``, and clear its cookie.

        :returns: the transaction. None if this browser has no such transaction, or if the
            transaction began more than :data:`LIFETIME` seconds ago.
        """
        name = self._name(state)
        if name not in request.cookies:
            return None
        self._set(response, name, "", 0)
        found = self._open(request.cookies[name])
        is_same = found is not None and hmac.compare_digest(found.state.encode(), state.encode())
        return found if is_same else None

    def _name(self, state: str) -> str:
        digest = hashlib.sha256(state.encode(errors="replace")).hexdigest()
        return self._prefix + digest[:16]

    def _open(self, value: str) -> Transaction | None:
        """Return the transaction in the value of a cookie. None if the value is invalid or old."""
        opened = self._sealed.open(value)
        try:
            return None if opened is None else Transaction(**opened)
        except TypeError:  # another version of authapp has written the cookie
            return None

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )
