"""Tokens of a fixed time, and a reader that reads them."""

from typing import Any

import jwt
import pytest

from authapp.backend.expressions import expression
from authapp.backend.identity_reader import ClaimExpressions
from authapp.backend.key_set import KeySet
from authapp.backend.protocol import BackendUnavailable
from authapp.backend.token_reader import TokenReader, Verify
from authapp.session.session import TokenPair

NOW = 1_790_000_000
SECRET = "a secret that both sides know, long enough"
NAMES = ClaimExpressions(
    *map(expression, ("sub || user_id || id", "email", "name", "roles", "scope"))
)


def reader(verify: Verify | None = None, keys: KeySet | None = None, **names: Any) -> TokenReader:
    return TokenReader(NAMES if not names else NAMES.__class__(**names), verify, keys, 1000)


def token(key: Any = SECRET, alg: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    claims = {"sub": "1", "exp": NOW + 300, **claims}
    given = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(given, key, alg, headers={"kid": kid} if kid else None)


def read(access: str, verify: Verify | None = None, refresh: str = "opaque", **more: Any) -> Any:
    pair = TokenPair(access, refresh, more.pop("expires_in", None), more.pop("refresh_in", None))
    return reader(verify, **more).read(pair, NOW)


def refused(access: str, verify: Verify | None = None, **more: Any) -> str:
    with pytest.raises(BackendUnavailable) as caught:
        read(access, verify, **more)
    return caught.value.reason
