"""Tests seal tokens of session cookies, also with other headers and contents, and open them."""

import json
from typing import Any

import pytest
from joserfc import jwe

from authapp.session.encryption import FORMATS, CannotOpen, Sealer

NEW, OLD = b"a new secret of at least 32 bytes ...", b"an old secret of at least 32 bytes .."
NAME = "authapp.session"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
BOTH = pytest.mark.parametrize("name", FORMATS)


def sealer(name: str = "next-auth-4", *secrets: bytes, cookie: str = NAME) -> Sealer:
    return Sealer(secrets or (NEW,), name, cookie)


def sealed(claims: object, name: str = "next-auth-4", header: Any = None, **more: Any) -> str:
    """Encrypt any claims, with any header, with the right key. Return the token of the session
    cookie."""
    form = FORMATS[name]
    key = form.key(NEW, NAME)
    registry = jwe.JWERegistry(algorithms=["dir", "A256GCM", "A256CBC-HS512", "A128GCM", "DEF"])
    text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jwe.encrypt_compact(header or form.header(key), text, key, registry=registry)


def opens(token: str) -> bool:
    try:
        sealer().open(token)
    except CannotOpen:
        return False
    return True
