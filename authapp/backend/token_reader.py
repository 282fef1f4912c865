"""Reads the user and the lifetimes from the tokens of a backend.

This module reads tokens when they arrive from the backend, at a sign-in and at a renewal. If
``backend.verify`` is set, this module also verifies the access token at that time. Tokens from the
session cookie are not verified again, because nobody can write the cookie without the secret.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import jwt

from authapp.backend.expressions import Condition
from authapp.backend.http_exchange import in_one_line
from authapp.backend.identity_reader import ClaimExpressions, read_identity
from authapp.backend.key_set import KeySet
from authapp.backend.protocol import BackendRejected, BackendUnavailable, UnexpectedAnswer
from authapp.backend.token_kind import why_not_access
from authapp.backend.token_times import bounded, check_begun, clock_skew, numeric_date
from authapp.request_log import request_log
from authapp.session.session import (
    Claims,
    Identity,
    Session,
    TokenPair,
    Validity,
)
from authapp.session.session_limits import UNLIMITED, SessionLimits

log = request_log(__name__)

SYMMETRIC = ["HS256", "HS384", "HS512"]
"""The algorithms that are accepted with a secret (RFC 7518 section 3.1)."""

ASYMMETRIC = [
    "RS256",
    "RS384",
    "RS512",
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "EdDSA",
]
"""The algorithms that are accepted with a public key (RFC 7518, RFC 8037)."""


@dataclass(frozen=True)
class Verify:
    """How the backend's access tokens are verified (``backend.verify``).

    One of ``secret``, ``jwks`` and ``pem`` is set.

    :param secret: the key for HS256, HS384 and HS512.
    :param jwks: the URL of a key set (RFC 7517).
    :param pem: a public key in PEM format.
    :param issuer: the ``iss`` that tokens must have. None: any.
    :param audience: the ``aud`` that tokens must have. None: any.
    :param leeway: the seconds by which the backend's clock may differ from ours.
    """

    secret: str | None = field(default=None, repr=False)
    jwks: str | None = None
    pem: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: int = 30


class TokenReader:
    """Reads the user and the lifetimes from tokens.

    :param names: where the values of the user are in the claims.
    :param verify: how access tokens are verified. None: they are not verified.
    :param keys: the key set that verifies access tokens. None if ``verify`` has no URL of a key
        set.
    :param refresh_lifetime: seconds for which a refresh token is valid if neither the token nor
        the response says when it expires.
    :param access_lifetime: seconds for which an access token is valid if neither the token nor
        the response says when it expires. None: such an access token is refused.
    :param limits: the limits of sessions. No session lasts longer than ``limits.absolute`` allows.
    """

    def __init__(
        self,
        names: ClaimExpressions,
        verify: Verify | None,
        keys: KeySet | None,
        refresh_lifetime: int,
        access_lifetime: int | None = None,
        limits: SessionLimits = UNLIMITED,
    ) -> None:
        self._limits = limits
        self._names = names
        self._access_lifetime = access_lifetime
        self._verify = verify
        self._keys = keys
        self._refresh_lifetime = refresh_lifetime

    def read(
        self, tokens: TokenPair, now: float, before: Session | None = None
    ) -> tuple[Identity, Validity]:
        """Read tokens that have just arrived.

        :param now: seconds since the epoch.
        :param before: the session that is renewed, or None at a sign-in. If the backend returns
            the refresh token of this session again, and no expiry for it, the old expiry is kept.
        :returns: the user, and the times at which the two tokens expire.
        :raises BackendUnavailable: if the tokens cannot be used, for any reason.
        """
        claims = self._claims(tokens.access, now)
        if claims is None and tokens.user is None and tokens.id_claims is None:
            raise UnexpectedAnswer(
                "the access token is not a JWT, and neither authapp.backend.answer.user nor"
                " authapp.backend.userinfo names the user"
            )
        said = {**(claims or {}), **(tokens.id_claims or {})}
        identity = read_identity(self._names, said, tokens.user or {})
        valid_until = self._expiry(claims or {}, tokens.expires_in, now)
        if valid_until is None and self._access_lifetime is not None:
            valid_until = int(now) + self._access_lifetime
        if tokens.refresh == tokens.access:
            refresh_until = valid_until  # the backend has no refresh tokens
        elif before is not None and before.tokens.refresh == tokens.refresh:
            # This token was issued earlier, so its ``iat`` does not tell the backend's time now.
            refresh_until = self._expiry({}, tokens.refresh_expires_in, now)
            refresh_until = refresh_until or before.validity.refresh_until
        else:
            refresh_claims = _unverified_claims(tokens.refresh) or {}
            refresh_until = self._expiry(refresh_claims, tokens.refresh_expires_in, now)
            refresh_until = refresh_until or int(now) + self._refresh_lifetime
        if valid_until is None or refresh_until is None:
            raise UnexpectedAnswer(
                "nothing says when the access token expires; authapp.backend.access_lifetime can"
            )
        if min(valid_until, refresh_until) <= now:
            raise UnexpectedAnswer(
                "a token that had expired on arrival; compare the clocks here and at the backend"
            )
        signed_in = now if before is None else before.authenticated_at
        return identity, self._limits.limit(Validity(valid_until, refresh_until), signed_in)

    def bearer(self, access: str, now: float, accepted: Condition | None = None) -> Identity:
        """Read an access token that a program has sent (RFC 6750). The token is always verified.

        The times in the token may differ from our clock by ``backend.leeway`` only.

        :param now: seconds since the epoch.
        :param accepted: decides on ``{header, claims}`` whether the token is an access token. If
            None, :func:`~authapp.backend.token_kind.why_not_access` decides.
        :raises BackendRejected: if the token is not valid, or is another kind of token.
        :raises BackendUnavailable: if the keys that verify it cannot be read.
        """
        verify = self._verify
        if verify is None:
            raise BackendRejected("authapp.backend.verify is not set")
        try:
            claims = self._verified(access, verify)
            _check_kind(jwt.get_unverified_header(access), claims, accepted)
            check_begun(claims, now, verify.leeway)
            expires = numeric_date(claims, "exp")
            if expires is None or bounded(expires, now) + verify.leeway <= now:
                raise BackendRejected("the token has expired, or does not say when it expires")
            return read_identity(self._names, claims, {})
        except BackendUnavailable as error:
            if self._keys is not None and not self._keys.readable:
                raise
            raise BackendRejected(error.reason) from None

    def _claims(self, access: str, now: float) -> dict[str, Any] | None:
        """Return the claims of an access token. Verify the token first if the settings require it.

        :returns: the claims, or None if the token is opaque and need not be verified.
        :raises BackendUnavailable: if the token must be verified, and this fails.
        """
        verify = self._verify
        if verify is None:
            return _unverified_claims(access)
        claims = self._verified(access, verify)
        if claims.get("nbf") is not None:
            check_begun(claims, now, verify.leeway, self._clock_skew(claims, now))
        return claims

    def _verified(self, access: str, verify: Verify) -> dict[str, Any]:
        """Return the claims of an access token, after checking its signature and issuer.

        :raises BackendUnavailable: if the token cannot be verified.
        """
        claims = _unverified_claims(access)
        if claims is None:
            raise UnexpectedAnswer(
                "the access token is not a JWT, so authapp.backend.verify cannot verify it"
            )
        try:
            key: Any = verify.secret or verify.pem
            algorithms = SYMMETRIC if verify.secret else ASYMMETRIC
            if self._keys is not None:
                key = _key(self._keys, jwt.get_unverified_header(access).get("kid"))
                algorithms = [each for each in ASYMMETRIC if each == key.algorithm_name]
            claims = jwt.decode(
                access,
                key,
                algorithms=algorithms,
                issuer=verify.issuer,
                audience=verify.audience,
                # Many backends issue a numeric ``sub``, or an ``aud`` that no setting names.
                # The callers check the times, because the backend's clock may differ from ours.
                options={
                    "verify_sub": False,
                    "verify_jti": False,
                    "verify_aud": verify.audience is not None,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise UnexpectedAnswer(_why_not_verified(error, access, claims, verify)) from None
        return claims

    def _expiry(self, claims: Claims, expires_in: int | None, now: float) -> int | None:
        """Return the time at which a token that has just been issued expires, by our clock.

        :param expires_in: the lifetime of the token in the response, in seconds, or None. This
            lifetime has priority over the claims.
        :returns: seconds since the epoch. None if neither the token nor the response says when the
            token expires.
        :raises BackendUnavailable: if a time in the token is not a number (RFC 7519 section 2), or
            is more than :data:`authapp.session.session.MAX_LIFETIME` seconds ahead.
        """
        expires = numeric_date(claims, "exp")
        if expires_in is not None:
            expires = int(now) + expires_in
        elif expires is not None:
            expires -= self._clock_skew(claims, now)
        return None if expires is None else bounded(expires, now)

    def _clock_skew(self, claims: Claims, now: float) -> int:
        leeway = self._verify.leeway if self._verify else Verify.leeway
        skew = clock_skew(claims, now, leeway)
        if skew:
            log.warning("ClockSkew: the backend's clock is %d s off", skew)
        return skew


def _check_kind(header: Claims, claims: Claims, accepted: Condition | None) -> None:
    """Check that a verified token is an access token.

    :param accepted: the condition of ``api_bearer.accepted``, or None.
    :raises BackendRejected: if the token is of another kind.
    """
    if accepted is None:
        reason = why_not_access(header, claims)
    elif accepted({"header": header, "claims": claims}):
        reason = None
    else:
        reason = "authapp.api_bearer.accepted is not true for it"
    if reason:
        raise BackendRejected(f"the token is not an access token: {reason}")


def _key(keys: KeySet, kid: str | None) -> jwt.PyJWK:
    """Return the public key that verifies a token.

    :raises UnexpectedAnswer: if the key set was read, and has no such key.
    :raises BackendUnavailable: if the key set cannot be read.
    """
    try:
        return keys.key(kid)
    except BackendUnavailable as error:
        kind = UnexpectedAnswer if keys.readable else BackendUnavailable
        raise kind(f"{error.reason}; see authapp.backend.verify") from None


def _why_not_verified(error: Exception, access: str, claims: Claims, verify: Verify) -> str:
    """Return why an access token cannot be verified, and the setting to look at."""
    name = type(error).__name__
    missing = getattr(error, "claim", None)
    for claim, setting, kind in (
        ("iss", "issuer", jwt.InvalidIssuerError),
        ("aud", "audience", jwt.InvalidAudienceError),
    ):
        if isinstance(error, kind) or missing == claim:
            came, expected = in_one_line(str(claims.get(claim))), getattr(verify, setting)
            return (
                f"the access token: {name}: its {claim} is {came}, and"
                f" authapp.backend.{setting} is {expected}"
            )
    source = "secret:" if verify.secret else "jwks:" if verify.jwks else "pem:"
    algorithm = in_one_line(jwt.get_unverified_header(access).get("alg"))
    return (
        f"the access token: {name}: its alg is {algorithm!r}; see authapp.backend.verify, which is"
        f" {source}…"
    )


def _unverified_claims(token: str) -> dict[str, Any] | None:
    """Return the claims of a JWT without verifying it. None if the token is not a JWT.

    If the claims cannot be written as JSON again, the token does not count as a JWT.
    """
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        json.dumps(claims, ensure_ascii=False, allow_nan=False).encode()
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims
