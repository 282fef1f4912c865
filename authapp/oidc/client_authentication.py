"""How this site proves to the provider who it is: OpenID Connect Core 1.0 section 9."""

import secrets
import time
from typing import Any
from urllib.parse import quote

import jwt

from authapp.settings.oidc_settings import OIDCSettings

ASSERTION_LIFETIME = 60
"""Seconds for which an assertion can be used."""

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authenticated(client: OIDCSettings, fields: dict[str, str]) -> dict[str, Any]:
    """Return the options of an HTTP request that sends a form as this client.

    :param fields: the fields of the form, without the client's credentials.
    :returns: options as ``requests.request`` takes them.
    """
    if client.client_auth == "basic":
        # RFC 6749 section 2.3.1: id and secret are form-encoded before Basic encodes them.
        credentials = (quote(client.client_id, ""), quote(client.client_secret or "", ""))
        return {"data": fields, "auth": credentials}
    named = {**fields, "client_id": client.client_id}
    if client.client_auth == "post":
        named["client_secret"] = client.client_secret or ""
    if client.client_auth == "private_key_jwt":
        named |= {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": _assertion(client)}
    return {"data": named}


def _assertion(client: OIDCSettings) -> str:
    """Return a signed assertion (RFC 7523 section 3). Its audience is the issuer."""
    now, key = int(time.time()), client.client_key
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": client.issuer,
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + ASSERTION_LIFETIME,
    }
    assert key is not None, "the settings require a key for private_key_jwt"  # noqa: S101
    return jwt.encode(claims, key.key, key.algorithm, dict(key.header))
