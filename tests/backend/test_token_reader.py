"""authapp accepts only JWTs with a correct signature, issuer and audience (threats B6, J1, J6)."""

import base64
import hmac

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authapp.backend.token_reader import Verify
from backend.tokens import NOW, SECRET, read, refused, token


@pytest.mark.parametrize("access", ["", "opaque", "a.b.c", "ä"])
def test_a_token_that_is_not_a_jwt_is_refused(access: str) -> None:
    assert "not a JWT" in refused(access)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_verifies_each_symmetric_algorithm(algorithm: str) -> None:
    assert read(token(SECRET * 2, algorithm), Verify(secret=SECRET * 2))[0].id == "1"


def test_a_pem_public_key_verifies_and_is_not_a_secret() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    verify = Verify(pem=public.decode())
    assert read(token(private, "EdDSA"), verify)[0].id == "1"
    # J1. The attacker uses the public key as the secret of a symmetric algorithm.
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(b'{"sub":"1","exp":%d}' % (NOW + 9)).rstrip(b"=").decode()
    signed = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    tail = base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
    assert "InvalidAlgorithmError" in refused(f"{head}.{body}.{tail}", verify)


def test_j1_only_the_configured_algorithm_is_accepted() -> None:
    verify = Verify(secret=SECRET)
    assert read(token(), verify)[0].id == "1"
    none = jwt.encode({"sub": "1", "exp": NOW + 300}, None, "none")
    assert "InvalidAlgorithmError" in refused(none, verify)
    assert "InvalidSignatureError" in refused(token(SECRET * 2, "HS512"), Verify(secret=SECRET * 3))
    assert "InvalidSignatureError" in refused(token("x" * 32), verify)


def test_j5_integer_claims_and_an_unconfigured_audience_are_accepted() -> None:
    identity, _ = read(token(sub=1, aud=["web", "app"]), Verify(secret=SECRET))
    assert identity.id == 1
    assert read(token(jti=7), Verify(secret=SECRET))


def test_j6_issuer_and_audience_must_match() -> None:
    verify = Verify(secret=SECRET, issuer="me", audience="you")
    assert read(token(iss="me", aud="you"), verify)
    for iss, aud in (("me/", "you"), ("me", "your"), (..., "you"), ("me", ...)):
        assert refused(token(iss=iss, aud=aud), verify)


def test_b6_claims_that_cannot_be_serialized_again_are_refused() -> None:
    head, _, tail = token().split(".")
    for text in (b'{"sub": "\\ud800"}', b'{"sub": "1", "x": NaN}', b"[" * 100_000, b"[]"):
        body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
        assert "not a JWT" in refused(f"{head}.{body}.{tail}")
