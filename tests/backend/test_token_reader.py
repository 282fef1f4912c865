"""authapp reads the user and the expiry from tokens, even if clocks differ: threats J and B."""

import base64
import hmac
import json
import logging
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

from authapp.backend.expressions import expression
from authapp.backend.http_client import BoundedSession
from authapp.backend.identity_reader import ClaimExpressions
from authapp.backend.key_set import KEYS_FRESH, KEYS_LOST, KEYS_RETRY, KeySet
from authapp.backend.protocol import BackendUnavailable
from authapp.backend.token_reader import TokenReader, Verify
from authapp.session.session import Identity, Session, TokenPair, Validity
from servers import Servers

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


def test_claims_become_identity_and_validity() -> None:
    identity, validity = read(
        token(email="a@example.com", name="Alice", roles=["admin", 1, ""], scope="read write")
    )
    assert identity.id == "1"
    assert identity.email == "a@example.com"
    assert identity.name == "Alice"
    assert identity.roles == ("admin",)
    assert identity.scopes == ("read", "write")
    assert identity.claims["exp"] == NOW + 300
    assert validity == Validity(NOW + 300, NOW + 1000)


def test_claim_names_are_configurable() -> None:
    sources = {
        "id": "uid",
        "email": "contact.mail",
        "name": 'nick || "https://example.com/name"',
        "roles": "realm_access.roles",
        "scopes": "scp",
    }
    names = {name: expression(source) for name, source in sources.items()}
    access = token(
        uid=7,
        contact={"mail": "m"},
        **{"https://example.com/name": "al"},
        realm_access={"roles": ["r"]},
        scp={"x": 1},
    )
    identity, _ = reader(**names).read(TokenPair(access, "r"), NOW)
    assert (identity.id, identity.email, identity.name) == (7, "m", "al")
    assert (identity.roles, identity.scopes) == (("r",), ())


@pytest.mark.parametrize("sub", [..., None, "", True, 1.5, [], {}])
def test_a_token_without_a_usable_user_id_is_refused(sub: Any) -> None:
    assert "no user in sub || user_id || id" in refused(token(sub=sub))


def test_user_id_replaces_a_missing_sub() -> None:
    assert read(token(sub=..., user_id=3))[0].id == 3


@pytest.mark.parametrize("access", ["", "opaque", "a.b.c", "ä"])
def test_a_token_that_is_not_a_jwt_is_refused(access: str) -> None:
    assert "not a JWT" in refused(access)


@pytest.mark.parametrize(
    "exp",
    [
        "1790000300",
        " 1790000300",
        "1_790_000_300",
        "\uff11\uff17\uff19\uff10",
        True,
        [1],
    ],
)
def test_j5_an_expiry_that_is_not_a_number_is_refused(exp: Any) -> None:
    assert "is not a time" in refused(token(exp=exp, iat=...), expires_in=300)


@pytest.mark.parametrize("exp", [10**60, 10**18, NOW + 315_360_001])
def test_j5_an_expiry_more_than_ten_years_ahead_is_refused(exp: int) -> None:
    assert "expires more than ten years from now" in refused(token(exp=exp))
    assert "expires more than ten years from now" in refused(token(exp=...), expires_in=exp - NOW)
    assert "expires more than ten years from now" in refused(
        token(), expires_in=60, refresh_in=exp - NOW
    )


@pytest.mark.parametrize("exp", [..., None, NOW, NOW - 1, -1])
def test_j5_a_missing_or_past_expiry_is_refused(exp: Any) -> None:
    assert "expire" in refused(token(exp=exp))


def test_j5_an_iat_more_than_two_hours_ahead_is_refused() -> None:
    assert refused(token(iat=NOW + 7_201, exp=NOW + 8_000))
    read(token(iat=NOW + 7_199, exp=NOW + 8_000))


@pytest.mark.parametrize("iat", [10**400, "x", True])
def test_j5_an_iat_that_is_not_a_time_is_refused(iat: Any) -> None:
    # The token is built by hand because PyJWT refuses to encode these values.
    head, _, tail = token().split(".")
    claims = json.dumps({"sub": "1", "exp": NOW + 300, "iat": iat}).encode()
    body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    assert refused(f"{head}.{body}.{tail}")


def test_lifetimes_in_the_response_override_the_tokens() -> None:
    _, validity = read(token(exp=...), expires_in=60, refresh_in=90)
    assert validity == Validity(NOW + 60, NOW + 90)
    # Lifetimes in the response override the expiry in the token: contract section 7.
    _, validity = read(token(), refresh=token(exp=NOW + 5000), expires_in=60, refresh_in=90)
    assert validity == Validity(NOW + 60, NOW + 90)


def test_a_numeric_date_can_have_a_fraction() -> None:
    """The times in a token may have a fraction of a second (RFC 7519 section 2)."""
    access = token(iat=NOW + 0.5, exp=NOW + 300.5, nbf=NOW - 0.5)
    _, validity = read(access, Verify(secret=SECRET), refresh=token(exp=NOW + 5000.9))
    assert validity == Validity(NOW + 300, NOW + 5000)


def test_a_string_is_one_role_and_scopes_are_split_at_spaces() -> None:
    identity, _ = read(token(roles="Support admin", scope="read write"))
    assert identity.roles == ("Support admin",)
    assert identity.scopes == ("read", "write")
    assert read(token(roles={"admin": True}))[0].roles == ()


def test_role_expressions_read_nested_and_combined_claims() -> None:
    for source, claims in (
        ("authorities[].authority", {"authorities": [{"authority": "ROLE_ADMIN"}]}),
        ("split(roles, ',')", {"roles": "ROLE_ADMIN, "}),
        ('"https://example.com/roles"', {"https://example.com/roles": ["ROLE_ADMIN"]}),
        (
            'resource_access."my.app".roles',
            {"resource_access": {"my.app": {"roles": ["ROLE_ADMIN"]}}},
        ),
        ("[a, b][]", {"a": ["ROLE_ADMIN"], "b": []}),
    ):
        names = {**vars(NAMES), "roles": expression(source)}
        identity, _ = reader(**names).read(TokenPair(token(**claims), "r"), NOW)
        assert identity.roles == ("ROLE_ADMIN",), source


def test_user_data_in_the_response_describes_an_opaque_access_token() -> None:
    pair = TokenPair("opaque", "r", 60, None, {"id": 7, "email": "a@example.com", "roles": ["x"]})
    identity, validity = reader().read(pair, NOW)
    assert (identity.id, identity.email, identity.roles) == (7, "a@example.com", ("x",))
    assert validity == Validity(NOW + 60, NOW + 1000)
    # A claim of the token overrides the user data in the response.
    pair = TokenPair(token(email="b@example.com"), "r", 60, None, {"email": "a@example.com"})
    assert reader().read(pair, NOW)[0].email == "b@example.com"


def test_an_opaque_access_token_without_user_data_is_refused() -> None:
    assert "neither authapp.backend.answer.user nor" in refused("opaque", expires_in=60)
    assert "authapp.backend.verify cannot verify it" in refused(
        "opaque", Verify(secret=SECRET), expires_in=60
    )


def test_the_access_lifetime_setting_applies_without_an_expiry() -> None:
    pair = TokenPair("opaque", "r", None, None, {"id": 7})
    reads = TokenReader(NAMES, None, None, 1000, access_lifetime=90)
    assert reads.read(pair, NOW)[1] == Validity(NOW + 90, NOW + 1000)


def test_without_a_refresh_token_the_session_ends_with_its_access_token() -> None:
    access = token(exp=NOW + 60)
    assert reader().read(TokenPair(access, access), NOW)[1] == Validity(NOW + 60, NOW + 60)
    pair = TokenPair("opaque", "opaque", 60, None, {"id": 7})
    assert reader().read(pair, NOW)[1] == Validity(NOW + 60, NOW + 60)


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


@pytest.mark.parametrize("ahead", [600, -600])
def test_a_backend_clock_that_is_off_is_corrected_and_logged(
    ahead: int, caplog: pytest.LogCaptureFixture
) -> None:
    there = NOW + ahead
    access = token(iat=there, nbf=there, exp=there + 300)
    refresh = token(iat=there, exp=there + 5000)
    _, validity = read(access, Verify(secret=SECRET), refresh=refresh)
    assert validity == Validity(NOW + 300, NOW + 5000)
    assert f"ClockSkew: the backend's clock is {ahead} s off" in caplog.text


def test_an_old_token_is_not_extended() -> None:
    """authapp assumes that a token that is a day old was cached or replayed, and keeps its expiry.
    A token that seems to be an hour old may be new, because the backend's clock may be wrong. So
    its lifetime begins now."""
    assert "expired on arrival" in refused(token(iat=NOW - 90_000, exp=NOW - 86_400))
    _, validity = read(token(iat=NOW - 90_000, exp=NOW + 60))
    assert validity.valid_until == NOW + 60
    _, validity = read(token(iat=NOW - 3_600, exp=NOW - 3_300))
    assert validity.valid_until == NOW + 300


def test_the_token_expiry_is_used_within_the_clock_leeway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, validity = read(token(iat=NOW + 29, exp=NOW + 329))
    assert validity.valid_until == NOW + 329
    assert not caplog.text


def test_a_short_lived_token_that_expired_within_the_leeway_is_accepted() -> None:
    """The site's clock is 25 seconds ahead, so a token that is valid for 20 seconds seems to have
    expired. authapp still accepts the token."""
    _, validity = read(token(iat=NOW - 25, exp=NOW - 5))
    assert validity.valid_until == NOW + 20


def test_b11_an_unchanged_refresh_token_keeps_its_expiry() -> None:
    refresh = token(iat=NOW - 5000, exp=NOW + 100)
    before = Session(
        Identity("1"), TokenPair("a", refresh), Validity(NOW, NOW + 100), "sid", NOW - 9, NOW - 9
    )
    _, validity = reader().read(TokenPair(token(), refresh), NOW, before)
    assert validity.refresh_until == NOW + 100
    _, validity = reader().read(TokenPair(token(), refresh, None, 77), NOW, before)
    assert validity.refresh_until == NOW + 77
    _, validity = reader().read(TokenPair(token(), "another"), NOW, before)
    assert validity.refresh_until == NOW + 1000


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


def test_j6_a_token_before_its_nbf_is_refused() -> None:
    verify = Verify(secret=SECRET)
    assert read(token(nbf=NOW + 30), verify)
    assert "not valid yet" in refused(token(nbf=NOW + 31), verify)
    assert "not a time" in refused(token(nbf="soon"), verify)


def test_b6_claims_that_cannot_be_serialized_again_are_refused() -> None:
    head, _, tail = token().split(".")
    for text in (b'{"sub": "\\ud800"}', b'{"sub": "1", "x": NaN}', b"[" * 100_000, b"[]"):
        body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
        assert "not a JWT" in refused(f"{head}.{body}.{tail}")


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
