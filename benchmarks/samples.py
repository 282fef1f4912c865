"""The sessions that all contenders of a benchmark use: one with small tokens, one with large
tokens."""

import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from authapp.session.session import Identity, Session, TokenPair, Validity, jwt_claims

SECRET = "a secret for benchmarks that is long enough"
LIFETIME = 3600


def token(
    length: int,
    key: str | RSAPrivateKey,
    algorithm: str,
    kind: str,
    user: str = "1",
    *,
    issued: bool = True,
) -> str:
    """Return a JWT of about ``length`` characters, with the claims of Django SimpleJWT.

    :param issued: False to leave out the claim ``iat``.
    """
    claims = {
        "token_type": kind,
        "iat": int(time.time()),
        "exp": int(time.time()) + LIFETIME,
        "jti": "5c2a4f0e9b7d4c0c8f6a1e3d2b5a7f90",
        "sub": user,
        "name": "alice",
        "roles": ["admin"],
        "more": "",
    }
    if not issued:
        del claims["iat"]
    missing = length - len(jwt.encode(claims, key, algorithm))
    claims["more"] = "x" * (missing * 3 // 4)
    return jwt.encode(claims, key, algorithm)


def session(access: str, refresh: str) -> Session:
    """Return a session of alice, who has just signed in."""
    now = int(time.time())
    identity = Identity(1, "alice@example.com", "alice", ("admin",), (), jwt_claims(access))
    validity = Validity(now + LIFETIME, now + LIFETIME)
    return Session.start(identity, TokenPair(access, refresh), validity, now)


def small() -> Session:
    """Return a session with two HS256 JWTs of 300 bytes."""
    return session(*(token(300, SECRET, "HS256", kind) for kind in ("access", "refresh")))


def large() -> Session:
    """Return a session with two RS256 JWTs of 1.1 KB."""
    key = generate_private_key(65537, 2048)
    return session(*(token(1100, key, "RS256", kind) for kind in ("access", "refresh")))


def claims_of(session: Session) -> dict[str, object]:
    """Return the session as plain JSON values, which every contender can store."""
    claims: dict[str, object] = json.loads(json.dumps(session.to_claims()))
    return claims
