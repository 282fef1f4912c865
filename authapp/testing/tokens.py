"""Tokens with the claims of a user, made without a backend. Their signature protects nothing."""

import secrets
from collections.abc import Mapping
from typing import Any

import jwt

from authapp.session.session import TokenPair, jwt_claims

ACCESS_LIFETIME = 900
"""Seconds from the issue of an access token to its expiry."""

REFRESH_LIFETIME = 604_800
"""Seconds from the issue of a refresh token to its expiry."""

_KEY = "authapp.testing: this key protects nothing and is not secret"
_USE = "authapp.testing"
_OWN = ("exp", "jti")


def issue(claims: Mapping[str, Any], valid_until: int, refresh_until: int) -> TokenPair:
    """Return tokens of the user whom the claims describe.

    :param claims: the claims of the access token.
    :param valid_until: the ``exp`` of the access token, in epoch seconds.
    :param refresh_until: the ``exp`` of the refresh token, in epoch seconds.
    """
    return TokenPair(
        access=_sign({**claims, "exp": valid_until}),
        refresh=_sign({_USE: "refresh", "exp": refresh_until}),
    )


def claims_of(tokens: TokenPair) -> dict[str, Any]:
    """Return the claims with which tokens were issued: see :func:`issue`.

    So :class:`authapp.testing.MemoryBackend` can renew a session that it did not start.
    """
    claims = jwt_claims(tokens.access)
    return {name: value for name, value in claims.items() if name not in _OWN}


def refresh_until(token: str) -> int:
    """Return the ``exp`` of a refresh token. For a token that :func:`issue` did not return: 0."""
    claims = jwt_claims(token)
    return claims["exp"] if _USE in claims else 0


def _sign(claims: dict[str, Any]) -> str:
    return jwt.encode({**claims, "jti": secrets.token_urlsafe(8)}, _KEY, "HS256")
