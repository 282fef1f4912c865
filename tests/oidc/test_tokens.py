"""authapp checks the provider's tokens. If one check fails, the sign-in fails."""

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from webob import Response as Answer

from authapp.backend.protocol import BackendUnavailable
from authapp.oidc.token_checks import LOGOUT_EVENT, TokenChecks
from oidc.conftest import Browser, browser
from servers import Served
from servers.oidc import CLIENT_ID, CLIENT_SECRET, KEY, OTHER_KEY, Provider, public, signed

NOW = int(time.time())
FAR = 10**6


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, "none", {"kid": "k1"})  # type: ignore[arg-type]


def with_secret(claims: dict[str, Any]) -> str:
    return signed(claims, CLIENT_SECRET, "HS256")


def with_public_key(claims: dict[str, Any]) -> str:
    """Sign a token with the provider's public key as an HMAC secret. Some libraries accept such a
    token."""
    import base64
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    head = part(b'{"alg":"HS256","kid":"k1"}') + b"." + part(json.dumps(claims).encode())
    return (head + b"." + part(hmac.digest(pem, head, hashlib.sha256))).decode()


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "iss": {"iss": "https://evil.example"},
    "no iss": {"iss": None},
    "aud": {"aud": "another-client"},
    "no aud": {"aud": None},
    "two aud without azp": {"aud": [CLIENT_ID, "another"]},
    "azp": {"azp": "another-client"},
    "azp with two aud": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "nonce is a number": {"nonce": 1},
    "at_hash": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "at_hash is null": {"at_hash": []},
    "expired": {"exp": NOW - 60},
    "no exp": {"exp": None},
    "exp is a text": {"exp": str(NOW + 300)},
    "exp is true": {"exp": True},
    "exp is huge": {"exp": 10**60},
    "from the future": {"iat": NOW + 3600},
    "no iat": {"iat": None},
    "not yet valid": {"nbf": NOW + 3600},
    "no sub": {"sub": None},
    "sub is empty": {"sub": ""},
    "sub is a number": {"sub": 7},
    "sub is long": {"sub": "x" * 256},
}

WRONG_TOKENS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "alg none": unsigned,
    "HS256 with the client's secret": with_secret,
    "HS256 with the public key": with_public_key,
    "another algorithm": lambda claims: signed(claims, KEY, "RS512"),
    "another key": lambda claims: signed(claims, OTHER_KEY),
    "an unknown kid": lambda claims: signed(claims, KEY, kid="k9"),
    "a key of its own": lambda claims: signed(
        claims, OTHER_KEY, kid="own", jwk=public(OTHER_KEY, "own")
    ),
    "a kid that is a path": lambda claims: signed(claims, KEY, kid="../../k1"),
    "crit": lambda claims: signed(claims, KEY, crit=["exp"]),
    "typ of an access token": lambda claims: signed(claims, KEY, typ="at+jwt"),
    "typ of a logout token": lambda claims: signed(claims, KEY, typ="logout+jwt"),
    "an encrypted token": lambda claims: "a.b.c.d.e",
    "no token": lambda claims: None,
    "a number": lambda claims: 7,
    "a text": lambda claims: "no token",
    "100 KB": lambda claims: signed({**claims, "more": "x" * 100_000}),
}


def test_a_good_token_is_good(site: Browser) -> None:
    site.enter(status=303)


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_a_wrong_claim_is_refused(site: Browser, provider: Provider, name: str) -> None:
    provider.id_claims = WRONG_CLAIMS[name]
    refused(site)


@pytest.mark.parametrize("name", WRONG_TOKENS)
def test_a_wrong_token_is_refused(site: Browser, provider: Provider, name: str) -> None:
    provider.sign = WRONG_TOKENS[name]
    refused(site)


def refused(site: Browser) -> None:
    page = site.enter("/login/oidc?next=/account", status=503)
    assert "BackendUnavailable" in page
    assert site.get("/session").json["user"] is None
    assert page.click("Sign in with Example ID").status_int == 303


@pytest.mark.parametrize(
    "more",
    [
        {"aud": [CLIENT_ID]},
        {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID},
        {"azp": CLIENT_ID},
        {"at_hash": None},
        {"exp": NOW - 20},
        {"iat": NOW + 20},
        {"auth_time": None},
    ],
)
def test_what_the_standard_allows_is_good(
    site: Browser, provider: Provider, more: dict[str, Any]
) -> None:
    provider.id_claims = more
    with time_machine.travel(NOW, tick=False):
        site.enter(status=303)


@pytest.mark.parametrize("ago", [None, FAR, -3600])
def test_max_age_is_enforced(served: Served, provider: Provider, ago: int | None) -> None:
    site = browser(served, oidc__max_age="300")
    provider.id_claims = {"auth_time": None if ago is None else int(time.time()) - ago}
    site.enter(status=503)
    provider.id_claims = {}
    site.enter(status=303)


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": None},
        {"access_token": 7},
        {"access_token": "with space"},
        {"access_token": "\u00e9"},
        {"token_type": "DPoP"},
    ],
)
def test_an_answer_without_a_bearer_token_is_refused(
    site: Browser, provider: Provider, answer: dict[str, Any]
) -> None:
    provider.answer = answer
    refused(site)


@pytest.mark.parametrize(
    "response",
    [
        Answer(body=b"x" * 10_000_000, content_type="application/json"),
        Answer("<html>Welcome to our wifi</html>"),
        Answer(json_body=[]),
        Answer(status=302, location="https://evil.example/"),
        Answer(status=429),
    ],
)
@pytest.mark.parametrize("path", ["/token", "/jwks", "/.well-known/openid-configuration"])
def test_an_unusable_response_of_the_provider_leads_to_a_page(
    served: Served, path: str, response: Answer
) -> None:
    site = browser(served)
    callback = site.begin() if path != "/.well-known/openid-configuration" else "/login/oidc"
    served.instead[path] = response
    throttled = path == "/token" and response.status_int == 429
    site.get(callback, status=429 if throttled else 503)
    if throttled:  # which concerns this sign-in only
        served.instead.clear()
        site.enter(status=303)


def test_an_unknown_key_reads_the_key_set_once_a_minute(
    site: Browser, served: Served, provider: Provider
) -> None:
    site.enter(status=303)
    provider.sign = lambda claims: signed(claims, KEY, kid="k9")
    for _ in range(5):
        site.enter(status=503)
    assert served.calls["/jwks"] == 2


def test_the_keys_are_rotated_in_the_middle(site: Browser, provider: Provider) -> None:
    site.enter(status=303)
    provider.keys = [public(OTHER_KEY, "k2")]
    provider.sign = lambda claims: signed(claims, OTHER_KEY, kid="k2")
    site.other().enter(status=303)


def test_keys_for_other_purposes_are_not_used(site: Browser, provider: Provider) -> None:
    provider.keys = [{**public(KEY, "k1"), "use": "enc"}]
    site.enter(status=503)


@given(
    st.one_of(
        st.none(),
        st.text(),
        st.dictionaries(
            st.sampled_from(["iss", "aud", "exp", "iat", "sub", "nonce", "events", "jti", "sid"]),
            st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists),
        ),
    )
)
def test_any_token_is_refused_without_another_error(thing: Any) -> None:
    class Keys:
        def key(self, kid: object) -> Any:
            return jwt.PyJWK(public(KEY, "k1"))

    token = thing
    if isinstance(thing, dict):
        token = jwt.api_jws.encode(json.dumps(thing).encode(), KEY, "RS256", {"kid": "k1"})
    checks = TokenChecks("https://id.example", CLIENT_ID, "RS256")
    keys: Any = Keys()
    for check in (
        lambda: checks.id_token(token, keys, NOW, access="a", nonce="n"),
        lambda: checks.logout_token(token, keys, NOW),
    ):
        with pytest.raises(BackendUnavailable):
            check()


@pytest.mark.parametrize(
    ("algorithm", "length"), [("RS256", 22), ("ES384", 32), ("PS512", 43), ("EdDSA", 43)]
)
def test_at_hash_has_half_of_the_algorithms_digest(algorithm: str, length: int) -> None:
    assert len(TokenChecks("", "", algorithm)._hash("token")) == length
    assert LOGOUT_EVENT.startswith("http://")


def test_the_log_says_which_algorithm_is_expected(
    site: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.sign = lambda claims: signed(claims, KEY, "RS512")
    site.enter(status=503)
    assert "the ID token: alg is not RS256" in caplog.text
