"""The private key with which this site proves to a backend who it is (``private_key_jwt``)."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ASSERTION_LIFETIME = 60
"""Seconds for which an assertion can be used."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The ``client_assertion_type`` of a JWT (RFC 7523 section 2.2)."""

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_NAMES_OF_KEY = ("kid", "x5t", "x5t#S256")


@dataclass(frozen=True)
class ClientKey:
    """The private key with which the client signs assertions.

    :param algorithm: the algorithm of the signature (RFC 7518 section 3.1).
    :param header: further members of the header of an assertion. They tell the backend with which
        public key to verify the assertion.
    """

    key: Any = field(repr=False)
    algorithm: str
    header: Mapping[str, str]

    def assertion(self, client_id: str, audience: str) -> str:
        """Return a signed assertion (RFC 7523 section 3).

        :param audience: the issuer of an OpenID Connect provider, or the URL of a request to a
            backend.
        """
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        return jwt.encode(claims, self.key, self.algorithm, dict(self.header))


def read_client_key(text: str) -> ClientKey:
    """Read a private key in PEM format or as a JWK (RFC 7517).

    If the JWK has a key id, assertions contain this key id.

    :raises ValueError: if the text is not a private key. The error does not contain the text.
    """
    try:
        found = json.loads(text) if text.startswith("{") else {}
        key = jwt.PyJWK(found).key if found else load_pem_private_key(text.encode(), None)
        header = {name: str(found[name]) for name in _NAMES_OF_KEY if name in found}
        return ClientKey(key, str(found.get("alg", _algorithm(key))), header)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, UnsupportedAlgorithm):
        raise ValueError("must be a private key, in PEM format or as a JWK") from None


def _algorithm(key: object) -> str:
    """Return the algorithm with which a private key signs.

    :raises ValueError: for a public key, and for other kinds of keys.
    """
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, RSAPrivateKey):
        return "RS256"
    raise ValueError
