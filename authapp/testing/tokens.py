"""Tokens that stand for a user. Nothing verifies them, so they need no backend."""

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
_CLAIMS = "authapp.testing"


def issue(claims: Mapping[str, Any], valid_until: int, refresh_until: int) -> TokenPair:
    """Return tokens of the user whom the claims describe.

    :param claims: the claims of the access token. The refresh token carries them too, so that
        :class:`authapp.testing.MemoryBackend` can renew a session that it did not start.
    :param valid_until: the ``exp`` of the access token, in epoch seconds.
    :param refresh_until: the ``exp`` of the refresh token, in epoch seconds.
    """
    return TokenPair(
        access=_sign({**claims, "exp": valid_until}),
        refresh=_sign({_CLAIMS: dict(claims), "exp": refresh_until}),
    )


def read_refresh(token: str) -> tuple[dict[str, Any], int] | None:
    """Return the user's claims and the ``exp`` of a refresh token that :func:`issue` returned.

    :returns: None for any other token.
    """
    found = jwt_claims(token)
    return (found[_CLAIMS], found["exp"]) if _CLAIMS in found else None


def _sign(claims: dict[str, Any]) -> str:
    return jwt.encode({**claims, "jti": secrets.token_urlsafe(8)}, _KEY, "HS256")
