"""A site that accepts access tokens in ``Authorization``, and tokens for it."""

import time
from typing import Any

import jwt
import pytest
from pyramid.config import Configurator
from pyramid.request import Request

from site_under_test import Site, add_view, shared_application

KEY = "a key that signs access tokens in tests, of 48 bytes"
KEYS = {
    "api_bearer": "true",
    "api_prefixes": "/view /api",
    "backend__verify": f"secret:{KEY}",
    "backend__issuer": "https://issuer.example",
    "backend__audience": "this site",
    "claims__name": "name",
}
ROBOT, ALICE = ["7", "robot", None], ["1", "alice", None]


def token(
    key: Any = KEY,
    algorithm: str = "HS256",
    kid: str = "one",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    now = int(time.time())
    right = {"sub": "7", "name": "robot", "roles": ["admin"], "iat": now, "exp": now + 300}
    right |= {"iss": "https://issuer.example", "aud": "this site"}
    known = {name: each for name, each in (right | claims).items() if each is not None}
    headers = {"kid": kid} | (header or {})
    return jwt.encode(known, key, algorithm=algorithm, headers=headers)


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def who(request: Request) -> Any:
    return request.identity and [request.identity.id, request.identity.name, request.session_error]


def add(config: Configurator) -> None:
    add_view(config, who)
    config.add_route("page", "/page")
    config.add_view(who, route_name="page", renderer="json")


@pytest.fixture
def site() -> Site:
    return shared_application("http://127.0.0.1:9", add, **KEYS)
