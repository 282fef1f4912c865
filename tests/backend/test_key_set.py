"""Tokens are verified with the keys that the provider publishes (JWKS): threats J1 to J4."""

import base64
import hmac
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from webob import Request, Response

from authapp.backend.http_client import BoundedSession
from authapp.backend.key_set import KEYS_FRESH, KEYS_LOST, KEYS_RETRY, KeySet
from authapp.backend.protocol import BackendUnavailable
from authapp.backend.token_reader import Verify
from backend.tokens import NOW, read, token
from servers import Servers


class Keys:
    """A WSGI application that serves a key set (JWKS)."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.document: Any = {"keys": self.public()}
        self.fails = False

    def public(self) -> list[dict[str, Any]]:
        return [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "r"},
            {**ECAlgorithm(None).to_jwk(self.ec.public_key(), as_dict=True), "kid": "e"},
            {**OKPAlgorithm().to_jwk(self.ed.public_key(), as_dict=True), "kid": "o"},
        ]

    def __call__(self, environ: Any, start_response: Any) -> Any:
        answer = Response(status=500) if self.fails else Response(json_body=self.document)
        return Request(environ).get_response(answer)(environ, start_response)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def made_keys() -> Keys:
    return Keys()


@pytest.fixture
def keys(servers: Servers, made_keys: Keys) -> Any:
    made_keys.document, made_keys.fails = {"keys": made_keys.public()}, False
    with servers.serve(made_keys) as served:
        made_keys.served = served  # type: ignore[attr-defined]
        clock = Clock()
        made_keys.clock = clock  # type: ignore[attr-defined]
        made_keys.set = KeySet(BoundedSession(2), served.url + "/jwks", clock)  # type: ignore[attr-defined]
        yield made_keys


def accepts(keys: Any, access: str) -> bool:
    try:
        read(access, Verify(jwks="x"), keys=keys.set)
    except BackendUnavailable:
        return False
    return True


def test_j_a_key_set_verifies_rsa_ec_and_ed25519_tokens(keys: Any) -> None:
    assert accepts(keys, token(keys.rsa, "RS256", "r"))
    assert accepts(keys, token(keys.ec, "ES256", "e"))
    assert accepts(keys, token(keys.ed, "EdDSA", "o"))
    assert keys.served.calls["/jwks"] == 1


def test_j1_algorithm_confusion_is_refused(keys: Any) -> None:
    assert not accepts(keys, token("x" * 32, "HS256", "r"))
    assert not accepts(keys, token(keys.rsa, "RS512", "r")), "a key accepts only its own algorithm"
    assert not accepts(keys, token(keys.rsa, "RS256", "e"))
    assert not accepts(keys, jwt.encode({"sub": "1"}, None, "none", headers={"kid": "r"}))
    # Built by hand because PyJWT neither signs with a public key nor omits the algorithm.
    public = keys.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = token(keys.rsa, "RS256", "r").split(".")[1]
    for header in ({"alg": "HS256", "kid": "r"}, {"kid": "r"}):
        signed = f"{_encoded(json.dumps(header).encode())}.{body}"
        tag = _encoded(hmac.digest(public, signed.encode(), "sha256"))
        assert not accepts(keys, f"{signed}.{tag}")
    signed = f"{_encoded(json.dumps({'alg': 'RS512', 'kid': 'r'}).encode())}.{body}"
    tag = _encoded(keys.rsa.sign(signed.encode(), PKCS1v15(), SHA256()))
    assert not accepts(keys, f"{signed}.{tag}"), "the header must name the algorithm of the key"


def test_j2_the_kid_selects_the_key(keys: Any) -> None:
    assert not accepts(keys, token(keys.rsa, "RS256")), (
        "the token has no kid, and the set has several keys"
    )
    for kid in ("../../etc/passwd", "' OR 1=1 --", "x" * 8000):
        assert not accepts(keys, token(keys.rsa, "RS256", kid))
    assert keys.served.calls["/jwks"] == 2, "the key set is fetched again at most once a minute"
    keys.document = {"keys": keys.public()[:1]}
    keys.clock.now += KEYS_FRESH
    assert accepts(keys, token(keys.rsa, "RS256")), "a single key needs no kid"


def test_j3_keys_in_the_header_are_ignored(keys: Any) -> None:
    mine = rsa.generate_private_key(65537, 2048)
    headers = {
        "kid": "r",
        "jwk": RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x",
    }
    forged = jwt.encode({"sub": "1", "exp": NOW + 300}, mine, "RS256", headers=headers)
    assert not accepts(keys, forged)


def test_j2_a_new_key_is_fetched_at_most_once_a_minute(keys: Any) -> None:
    keys.document = {"keys": keys.public()[:1]}
    assert accepts(keys, token(keys.rsa, "RS256", "r"))
    keys.document = {"keys": keys.public()[:2]}
    assert accepts(keys, token(keys.ec, "ES256", "e")), (
        "the first unknown kid causes a fetch immediately"
    )
    keys.document = {"keys": keys.public()}
    assert not accepts(keys, token(keys.ed, "EdDSA", "o")), "the next fetch waits for KEYS_RETRY"
    keys.clock.now += KEYS_RETRY
    assert accepts(keys, token(keys.ed, "EdDSA", "o"))


@pytest.mark.parametrize(
    "document", [None, {}, {"keys": []}, {"keys": 1}, {"keys": [1]}, [], {"keys": [{"kty": "x"}]}]
)
def test_j4_the_last_good_keys_are_used_for_a_day_when_the_document_is_unusable(
    keys: Any, document: Any
) -> None:
    good = token(keys.rsa, "RS256", "r")
    assert accepts(keys, good)
    keys.document, keys.fails = document, document is None
    keys.clock.now += KEYS_LOST - 1
    assert accepts(keys, good)
    assert keys.served.calls["/jwks"] == 2
    keys.clock.now += 2
    assert not accepts(keys, good)


def test_j4_the_age_of_the_keys_counts_from_the_beginning_of_the_fetch(keys: Any) -> None:
    """Threat J4. The age of keys counts from the beginning of their fetch, because the provider may
    withdraw a key while its response is on the way."""
    good = token(keys.rsa, "RS256", "r")

    def take_long(request: Any) -> None:
        keys.clock.now += 10

    keys.served.instead["/jwks"] = take_long
    assert accepts(keys, good)
    keys.clock.now = KEYS_FRESH
    assert accepts(keys, good)
    assert keys.served.calls["/jwks"] == 2


def test_j4_private_and_symmetric_keys_in_the_set_are_ignored(keys: Any) -> None:
    secret = {"kty": "oct", "kid": "s", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}
    private = {**RSAAlgorithm.to_jwk(keys.rsa, as_dict=True), "kid": "p"}
    keys.document = {"keys": [secret, private, *keys.public()]}
    assert not accepts(keys, token("x" * 32, "HS256", "s"))
    assert not accepts(keys, token(keys.rsa, "RS256", "p"))
    assert accepts(keys, token(keys.rsa, "RS256", "r"))


def test_j4_a_published_secret_is_not_kept(keys: Any) -> None:
    """Threat J4. A secret in a public key set is known to attackers, so authapp does not use it."""
    secret = {"kty": "oct", "kid": "s", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}
    keys.document = {"keys": [secret, *keys.public()]}
    assert keys.set.key("r").key_type == "RSA"
    with pytest.raises(BackendUnavailable):
        keys.set.key("s")


def test_j4_a_key_with_an_invalid_kid_does_not_affect_other_keys(keys: Any) -> None:
    odd = {**keys.public()[2], "kid": ["a"]}
    keys.document = {"keys": [odd, *keys.public()]}
    assert accepts(keys, token(keys.rsa, "RS256", "r"))


@pytest.mark.parametrize(
    "odd",
    [
        {"alg": "none"},
        {"alg": [[]]},
        {"alg": {"a": 1}},
        {"n": 7},
        {"e": "\0"},
        {"n": "x" * 100_000},
        7,
        None,
    ],
)
def test_j4_a_malformed_key_does_not_affect_other_keys(keys: Any, odd: Any) -> None:
    entry = {**keys.public()[0], "kid": "odd", **odd} if isinstance(odd, dict) else odd
    keys.document = {"keys": [entry, *keys.public()]}
    assert accepts(keys, token(keys.rsa, "RS256", "r"))
    assert not accepts(keys, token(keys.rsa, "RS256", "odd"))


def test_j4_a_private_key_is_not_parsed(keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat J4. authapp does not parse a private key in a key set. If the primes of the key are
    missing, PyJWT would compute them. This could take a minute, and all threads would wait for the
    GIL."""
    seen: list[Any] = []
    monkeypatch.setattr(RSAAlgorithm, "from_jwk", lambda entry: seen.append(entry))
    private = RSAAlgorithm.to_jwk(keys.rsa, as_dict=True)
    keys.document = {"keys": [{**private, "kid": "p"}, *keys.public()[1:]]}
    assert accepts(keys, token(keys.ec, "ES256", "e"))
    assert not seen


def test_j4_one_thread_fetches_while_others_use_the_last_good_keys(keys: Any) -> None:
    good, other = token(keys.rsa, "RS256", "r"), token(keys.ec, "ES256", "new")
    assert accepts(keys, good)
    keys.clock.now += KEYS_FRESH
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        come.set()
        assert go.wait(10)

    keys.served.instead["/jwks"] = wait
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(accepts, keys, good)
        assert come.wait(20)
        waiting = pool.submit(accepts, keys, other)
        assert accepts(keys, good)
        assert not reading.done()
        assert not waiting.done(), "this thread has no key to use in the meantime"
        keys.document = {"keys": [*keys.public(), {**keys.public()[1], "kid": "new"}]}
        go.set()
        assert reading.result(20)
        assert waiting.result(20)
    assert keys.served.calls["/jwks"] == 2


def test_j4_a_thread_does_not_fetch_again_after_another_threads_fetch(keys: Any) -> None:
    """Threat J4. If another thread has just fetched a key set because it was old, a thread does not
    fetch it again. But for a token with an unknown ``kid``, the thread does fetch it again."""
    assert accepts(keys, token(keys.rsa, "RS256", "r"))
    keys.set._look_again("r")  # a thread that has found the key set too old does this
    keys.document = {"keys": [*keys.public(), {**keys.public()[1], "kid": "new"}]}
    assert accepts(keys, token(keys.ec, "ES256", "new"))
    assert keys.served.calls["/jwks"] == 2


def test_j4_an_oversized_key_set_is_not_read(keys: Any) -> None:
    keys.document = {"keys": keys.public(), "more": "x" * 300_000}
    assert not accepts(keys, token(keys.rsa, "RS256", "r"))
    assert json.dumps(keys.document)
