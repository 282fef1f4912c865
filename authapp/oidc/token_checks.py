"""The checks of an ID token and of a logout token.

An ID token is checked as OpenID Connect Core 1.0 section 3.1.3.7 and RFC 8725 say. A logout token
is checked as OpenID Connect Back-Channel Logout 1.0 section 2.6 says. The algorithm comes from the
settings, and not from a token or from the provider's metadata.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

import jwt

from authapp.backend.key_set import KeySet
from authapp.backend.protocol import BackendUnavailable
from authapp.session.claims import is_time, text
from authapp.session.session import Claims

LEEWAY = 30
"""Seconds by which the provider's clock may differ from ours."""

MAX_LENGTH = 32_768
"""The most characters of a token. A longer token is refused."""

MAX_AGE_OF_LOGOUT = 600
"""A logout token is refused this many seconds after its issue, even if it expires later or
never."""

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""The member of ``events`` that a logout token must have (Back-Channel Logout section 2.4)."""

_HASHES = {"256": "sha256", "384": "sha384", "512": "sha512", "EdDSA": "sha512"}


class TokenInvalid(BackendUnavailable):
    """A token of the provider has failed a check. The text says which check."""


@dataclass(frozen=True)
class TokenChecks:
    """The checks of the tokens that one provider issues to one client.

    :param algorithm: the one algorithm that is accepted.
    """

    issuer: str
    client_id: str
    algorithm: str

    def id_token(
        self,
        token: object,
        keys: KeySet,
        now: float,
        *,
        access: str,
        nonce: str | None = None,
        max_age: int | None = None,
    ) -> dict[str, Any]:
        """Check an ID token, and return its claims.

        :param token: the ``id_token`` of a response of the token endpoint.
        :param now: seconds since the epoch.
        :param access: the access token in the same response.
        :param nonce: the nonce of the authorization request. None at a renewal: the nonce of the ID
            token is then not checked.
        :param max_age: the most seconds that may have passed since the provider authenticated the
            user. None: there is no limit.
        :raises TokenInvalid: if one of the checks fails.
        :raises BackendUnavailable: if the key set cannot be read.
        """
        claims = self._verified(token, keys, ("", "jwt"))
        self._check_issuer_and_audience(claims)
        issued, expires = _time(claims, "iat"), _time(claims, "exp")
        _require(expires > now - LEEWAY, "exp has passed")
        _require(issued <= now + LEEWAY, "iat is in the future")
        if "nbf" in claims:
            _require(_time(claims, "nbf") <= now + LEEWAY, "nbf is in the future")
        _require(0 < len(text(claims.get("sub")) or "") <= 255, "sub is missing or too long")
        if nonce is not None:
            _require(_same(claims.get("nonce"), nonce), "nonce is not that of this sign-in")
        if "at_hash" in claims:
            _require(_same(claims["at_hash"], self._hash(access)), "at_hash does not fit")
        if max_age is not None:
            authenticated = _time(claims, "auth_time")
            _require(authenticated <= now + LEEWAY, "auth_time is in the future")
            _require(now - authenticated <= max_age + LEEWAY, "auth_time is older than max_age")
        return claims

    def logout_token(self, token: object, keys: KeySet, now: float) -> dict[str, Any]:
        """Check a logout token, and return its claims. The caller checks that ``jti`` is new.

        :raises TokenInvalid: if one of the checks fails.
        :raises BackendUnavailable: if the key set cannot be read.
        """
        claims = self._verified(token, keys, ("", "jwt", "logout+jwt"))
        self._check_issuer_and_audience(claims)
        issued = _time(claims, "iat")
        _require(issued <= now + LEEWAY, "iat is in the future")
        _require(issued > now - MAX_AGE_OF_LOGOUT - LEEWAY, "iat is too long ago")
        if "exp" in claims:
            _require(_time(claims, "exp") > now - LEEWAY, "exp has passed")
        events = claims.get("events")
        _require(
            isinstance(events, dict) and isinstance(events.get(LOGOUT_EVENT), dict),
            "events does not name the logout",
        )
        _require("nonce" not in claims, "nonce must not be there")
        _require(0 < len(text(claims.get("jti")) or "") <= 255, "jti is missing or too long")
        for name in ("sub", "sid"):
            value = claims.get(name)
            _require(value is None or 0 < len(text(value) or "") <= 255, f"{name} is no text")
        _require(claims.get("sub") or claims.get("sid"), "there is neither sub nor sid")
        return claims

    def _verified(self, token: object, keys: KeySet, types: tuple[str, ...]) -> dict[str, Any]:
        """Verify the signature of a token.

        :param types: the ``typ`` that the header may have, in lower case (RFC 8725 section 3.11).
        """
        _require(isinstance(token, str) and 0 < len(token) <= MAX_LENGTH, "there is none")
        try:
            header = jwt.get_unverified_header(str(token))
            kind = str(header.get("typ", "")).lower().removeprefix("application/")
            _require(kind in types, "typ is that of another kind of token")
            _require(header.get("alg") == self.algorithm, f"alg is not {self.algorithm}")
            _require("crit" not in header, "crit is not supported")
            key = keys.key(header.get("kid"))
            options: Any = {
                f"verify_{name}": False for name in ("aud", "exp", "iat", "jti", "nbf", "sub")
            }
            claims = jwt.decode(str(token), key.key, algorithms=[self.algorithm], options=options)
            json.dumps(claims, ensure_ascii=False, allow_nan=False).encode()
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise TokenInvalid(type(error).__name__) from None
        return claims

    def _check_issuer_and_audience(self, claims: Claims) -> None:
        _require(claims.get("iss") == self.issuer, "iss is another issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        _require(self.client_id in audiences, "aud is another client")
        if "azp" in claims or len(audiences) > 1:
            _require(claims.get("azp") == self.client_id, "azp is another client")

    def _hash(self, access: str) -> str:
        """Return the ``at_hash`` of an access token (Core section 3.1.3.6)."""
        name = next(_HASHES[end] for end in _HASHES if self.algorithm.endswith(end))
        digest = hashlib.new(name, access.encode()).digest()
        return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")


def _require(good: object, reason: str) -> None:
    if not good:
        raise TokenInvalid(reason)


def _same(value: object, expected: str) -> bool:
    given = value if isinstance(value, str) else ""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _time(claims: Claims, name: str) -> float:
    """Return a NumericDate (RFC 7519 section 2).

    :raises TokenInvalid: if the claim is missing, or is not a time.
    """
    value = claims.get(name)
    if not is_time(value):
        raise TokenInvalid(f"{name} is not a time")
    return value
