"""From the tokens of a backend to an identity and a validity.

Tokens are read, and verified where that is set, when they arrive: at sign-in and at
renewal. What the sealed cookie holds is ours already.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from authapp.backend.key_set import KeySet
from authapp.backend.protocol import BackendUnavailable
from authapp.session.session import (
    MAX_LIFETIME,
    Claims,
    Identity,
    Session,
    TokenPair,
    Validity,
    is_user_id,
    text,
    texts,
)

log = logging.getLogger(__name__)

MAX_SKEW = 7_200
"""Seconds by which a backend's clock is believed to differ from ours at the most."""

ASYMMETRIC = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "EdDSA"]


@dataclass(frozen=True)
class Verify:
    """How the backend's access tokens are verified (``backend.verify``).

    Either ``secret`` (HS256) or ``jwks``, the URL of a key set, is given; ``leeway`` is in
    seconds.
    """

    secret: str | None = field(default=None, repr=False)
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: int = 30


@dataclass(frozen=True)
class ClaimNames:
    """Where in the access token the parts of an identity stand.

    Each is a tuple of dotted paths, of which the first that is there counts.
    """

    id: tuple[str, ...]
    email: tuple[str, ...]
    name: tuple[str, ...]
    roles: tuple[str, ...]
    scopes: tuple[str, ...]


class TokenReader:
    """Reads what the backend's tokens say of the user and of time.

    :param refresh_lifetime: seconds for an opaque refresh token whose end nobody names.
    """

    def __init__(
        self,
        names: ClaimNames,
        verify: Verify | None,
        keys: KeySet | None,
        refresh_lifetime: int,
    ) -> None:
        self._names = names
        self._verify = verify
        self._keys = keys
        self._refresh_lifetime = refresh_lifetime

    def read(
        self, tokens: TokenPair, now: float, before: Session | None = None
    ) -> tuple[Identity, Validity]:
        """Who the access token speaks of, and how long the tokens hold.

        :param before: the session that is renewed, whose refresh token may be kept.
        :raises BackendUnavailable: when the token cannot be used, for whatever reason.
        """
        claims = self._claims(tokens.access, now)
        identity = self._identity(claims)
        valid_until = self._until(claims, tokens.expires_in, now)
        if before is not None and before.tokens.refresh == tokens.refresh:
            # It was not made just now, so its age says nothing of the backend's clock.
            refresh_until = self._until({}, tokens.refresh_expires_in, now)
            refresh_until = refresh_until or before.validity.refresh_until
        else:
            refresh_claims = _unverified(tokens.refresh) or {}
            refresh_until = self._until(refresh_claims, tokens.refresh_expires_in, now)
            refresh_until = refresh_until or int(now) + self._refresh_lifetime
        if valid_until is None or min(valid_until, refresh_until) <= now:
            raise BackendUnavailable("a token without an expiry, or expired when it came")
        return identity, Validity(valid_until, refresh_until)

    def _claims(self, access: str, now: float) -> dict[str, Any]:
        """The claims of an access token, verified as the settings say."""
        verify = self._verify
        claims = _unverified(access)
        if claims is None:
            raise BackendUnavailable("the access token is not a JWT")
        if verify is None:
            return claims
        try:
            key: Any = verify.secret
            algorithms = ["HS256"]
            if self._keys is not None:
                key = self._keys.key(jwt.get_unverified_header(access).get("kid"))
                algorithms = [each for each in ASYMMETRIC if each == key.algorithm_name]
            claims = jwt.decode(
                access,
                key,
                algorithms=algorithms,
                issuer=verify.issuer,
                audience=verify.audience,
                # Integer subjects and audiences that nobody configured are common; times
                # are judged by _until, against the moment of receipt.
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
            raise BackendUnavailable(f"the access token: {type(error).__name__}") from None
        not_before = _whole(claims, "nbf")
        if not_before is not None and not_before - self._skew(claims, now) > now + verify.leeway:
            raise BackendUnavailable("an access token that does not hold yet")
        return claims

    def _until(self, claims: Claims, expires_in: int | None, now: float) -> int | None:
        """When a token ends, by our clock; None where nobody says.

        The backend's clock may differ from ours: where ``iat`` is further off than the
        leeway, or the token has ended before it came, it lives for ``exp - iat`` from now on.

        :raises BackendUnavailable: for a time that is none (RFC 7519 section 2), or for one
            that lies too far ahead.
        """
        expires = _whole(claims, "exp")
        if expires is not None:
            expires -= self._skew(claims, now)
        elif expires_in is not None:
            expires = int(now) + expires_in
        if expires is not None and expires > now + MAX_LIFETIME:
            raise BackendUnavailable("a token that lives too long")
        return expires

    def _skew(self, claims: Claims, now: float) -> int:
        """How far the backend's clock is ahead of ours, in seconds; 0 where that is in doubt."""
        issued, expires = _whole(claims, "iat"), _whole(claims, "exp")
        leeway = self._verify.leeway if self._verify else Verify.leeway
        ended = expires is not None and expires <= now
        if issued is None or (abs(issued - int(now)) <= leeway and not ended):
            return 0
        skew = issued - int(now)
        if skew > MAX_SKEW:
            raise BackendUnavailable("a token from the future")
        if skew < -MAX_SKEW:  # no clock: the token was not made just now
            return 0
        log.warning("ClockSkew: the backend's clock is %d s off", skew)
        return skew

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        names = self._names
        user_id = _first(claims, names.id)
        if not is_user_id(user_id):
            raise BackendUnavailable(f"the access token names no user in {' or '.join(names.id)}")
        return Identity(
            user_id,
            text(_first(claims, names.email)),
            text(_first(claims, names.name)),
            texts(_first(claims, names.roles)),
            texts(_first(claims, names.scopes)),
            claims,
        )


def _unverified(token: str) -> dict[str, Any] | None:
    """The claims of a JWT as they stand, or None for an opaque token."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        json.dumps(claims, ensure_ascii=False, allow_nan=False).encode()
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims


def _whole(claims: Claims, name: str) -> int | None:
    """A NumericDate (RFC 7519 section 2) of whole seconds, or None where there is none.

    :raises BackendUnavailable: for anything else.
    """
    value = claims.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise BackendUnavailable(f"{name} of a token is not a time in whole seconds")
    return value


def _first(claims: Mapping[str, Any], paths: Iterable[str]) -> Any:
    """The value under the first of several dotted paths that is there.

    A name may have dots of its own (``https://example.com/roles``).
    """
    for path in paths:
        if claims.get(path) is not None:
            return claims[path]
        value: Any = claims
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None
