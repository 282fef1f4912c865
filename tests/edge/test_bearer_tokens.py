"""Which access tokens ``authapp.api_bearer`` accepts, and how it verifies them (contract section
11)."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from webob import Response

import authapp
from authapp.backend.protocol import BackendRejected
from authapp.settings.ini import SettingsError
from edge import bearer_site
from edge.bearer_site import KEYS, ROBOT, add, bearer, token
from servers import Served
from site_under_test import Site, application, settings, shared_application

# A fixture of these tests.
site = bearer_site.site

JWKS = "/.well-known/jwks.json"

ACCESS: list[dict[str, Any]] = [
    {},
    {"header": {"typ": None}},  # Cognito
    {"header": {"typ": None}, "token_use": "access", "client_id": "x", "scope": "openid"},
    {"header": {"typ": "JWT"}, "scope": "read", "azp": "x", "permissions": []},  # Auth0
    {"header": {"typ": "at+jwt"}, "client_id": "x", "auth_time": 1, "acr": "0", "amr": []},
    {"header": {"typ": "application/AT+JWT"}, "type": "customer"},
    {"typ": "Bearer", "azp": "x", "sid": "y", "acr": "1", "scope": "openid"},  # Keycloak
    {"typ": "Bearer", "nonce": "n"},  # Keycloak before release 24
    {"token_type": "access", "jti": "1", "user_id": "7"},  # SimpleJWT, django-ninja-jwt
    {"token_type": "sliding", "refresh_exp": 1},  # SimpleJWT, django-ninja-jwt
    {"token_use": "access", "sid": "x"},  # django-allauth
    {"type": "access", "fresh": True, "csrf": "x"},  # Flask-JWT-Extended
    {"aud": ["fastapi-users:auth", "this site"]},  # FastAPI Users
    {"token_type": "urn:ietf:params:oauth:token-type:access_token"},
    {"tokenType": "ACCESS_TOKEN", "type": None},
    {"typ": "JWT", "https://example.com/type": "customer"},
    {"header": {"typ": "application/okta-internal-at+jwt"}, "scp": ["openid"]},  # Okta
    {"scp": "read", "nonce": "n", "azp": "x"},  # Azure AD B2C
    {"type": "user", "kind": "robot", "use": "sig", "nonce": ""},
]
NOT_ACCESS: list[dict[str, Any]] = [
    {"token_type": "refresh"},
    {"token_type": "REFRESH_TOKEN"},
    {"tokenType": "refresh"},
    {"token_type": ["refresh"]},
    {"token_type": ""},
    {"token_type": 1},
    {"Token\nType": "re\nfresh"},
    {"token_use": "refresh"},
    {"token_use": "id", "cognito:username": "x"},
    {"type": "refresh", "fresh": False},
    {"type": "reset"},
    {"purpose": "reset"},
    {"typ": "Refresh"},
    {"typ": "Offline"},
    {"typ": "ID"},
    {"typ": "ID", "nonce": "n", "at_hash": "x"},
    {"typ": "Logout"},
    {"typ": "verify-email"},
    {"typ": "DPoP"},
    {"typ": "Bearer", "token_use": "id"},
    {"header": {"typ": "at+jwt"}, "token_type": "refresh"},
    {"nonce": "n"},
    {"nonce": "n", "name": "Bearer", "locale": "access"},
    {"nonce": "n", "preferred_username": "at+jwt"},
    {"nonce": "n", "type": "access", "kind": "Bearer"},
    {"nonce": "n", "scope": ""},
    {"at_hash": "x"},
    {"c_hash": "x"},
    {"header": {"typ": "id_token+jwt"}},
    {"header": {"typ": "rt+jwt"}},
    {"header": {"typ": "logout+jwt"}},
    {"header": {"typ": "application/secevent+jwt"}},
    {"header": {"typ": ["at+jwt"]}},
    {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}, "sid": "s"},
    {"events": {}, "typ": "Bearer"},
    {"cnf": {"jkt": "x"}, "header": {"typ": "at+jwt"}},
]


@pytest.mark.parametrize("claims", ACCESS)
def test_access_tokens_of_known_backends_are_accepted(site: Site, claims: dict[str, Any]) -> None:
    assert site.get("/view", headers=bearer(token(**claims))).json == ROBOT


@pytest.mark.parametrize("claims", NOT_ACCESS)
def test_other_tokens_of_the_same_issuer_are_401(
    site: Site, claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.get("/view", headers=bearer(token(**claims)), status=401)
    assert "the token is not an access token: it" in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]


def test_a_setting_can_say_which_tokens_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    condition = "header.typ == 'JWT' && claims.type == 'customer'"
    site = shared_application(
        "http://127.0.0.1:9", add, **KEYS, **{"api_bearer__accepted": condition}
    )
    right = token(type="customer", nonce="n")
    assert site.get("/view", headers=bearer(right)).json == ROBOT
    caplog.set_level("INFO")
    for wrong in (token(), token(type="x"), token(type="customer", header={"typ": "at+jwt"})):
        site.get("/view", headers=bearer(wrong), status=401)
    assert "authapp.api_bearer.accepted is not true" in caplog.text
    site.get("/view", headers=bearer(token(OTHER, "ES256", type="customer")), status=401)


def test_the_condition_for_tokens_needs_bearer_tokens() -> None:
    with pytest.raises(SettingsError, match=r"authapp\.api_bearer\.accepted has no effect"):
        authapp.main({}, **settings("http://127.0.0.1:9", **{"api_bearer__accepted": "claims.x"}))


OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "make",
    [
        lambda now: token(key="another key that signs access tokens in tests"),
        lambda now: token(exp=now - 31),
        lambda now: token(exp=None),
        lambda now: token(exp="soon"),
        lambda now: token(exp=True),
        lambda now: token(exp=1e300),
        lambda now: token(exp=10**15),
        lambda now: token(exp=now + 316_000_000),
        lambda now: token(nbf=now + 200),
        lambda now: token(nbf=[1]),
        lambda now: token(nbf=1e300),
        lambda now: token(iat=now + 200),
        lambda now: token(iat=10**7 + now),
        lambda now: token(iat="x"),
        lambda now: token(iat=True),
        lambda now: token(iss="https://other.example"),
        lambda now: token(iss=None),
        lambda now: token(aud="another site"),
        lambda now: token(aud=None),
        lambda now: token(sub=None),
        lambda now: token(key="", algorithm="none"),
        lambda now: token(key=OTHER, algorithm="ES256"),
        lambda now: token() + "x",
        lambda now: token() + " x",
        lambda now: "x" * 9000,
        lambda now: "",
        lambda now: "opaque",
        lambda now: "é",
    ],
)
def test_a_wrong_token_is_401_even_on_a_public_page(site: Site, make: Callable[[int], str]) -> None:
    value = make(int(time.time()))
    environ = {"HTTP_AUTHORIZATION": f"Bearer {value}"}
    answer = site.get("/view", extra_environ=environ, status=401)
    assert len(value) < 8 or value not in answer.text


def test_the_word_bearer_has_no_case_and_a_little_leeway(site: Site) -> None:
    now = int(time.time())
    value = token(exp=now - 5, nbf=now + 5, iat=now + 5.5)
    assert site.get("/view", headers={"Authorization": f"bEARER  {value}"}).json == ROBOT


@pytest.fixture
def signed() -> Iterator[tuple[Site, Served, Any]]:
    """Yield a site, its backend, and the private key of the tokens. The site verifies tokens with
    the backend's key set."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "one"}
    with Served(Response(json_body={"keys": [public]})) as backend:
        keys = KEYS | {"backend__verify": f"jwks:{backend.url}{JWKS}"}
        yield application(backend.url, add, **keys), backend, key


def test_keys_that_cannot_be_read_are_503_and_not_401(signed: tuple[Site, Served, Any]) -> None:
    site, backend, key = signed
    backend.instead[JWKS] = Response(status=503)
    answer = site.get("/view", headers=bearer(token(key, "ES256")), status=503)
    assert answer.json["code"] == "BackendUnavailable"
    assert answer.headers["Retry-After"]


def test_tokens_are_verified_with_the_keys_of_the_backend(signed: tuple[Site, Served, Any]) -> None:
    site, backend, key = signed
    assert site.get("/view", headers=bearer(token(key, "ES256"))).json == ROBOT
    site.get("/view", headers=bearer(token(OTHER, "ES256")), status=401)
    for number in range(5):
        unknown = token(OTHER, "ES256", kid=str(number))
        site.get("/view", headers=bearer(unknown), status=401)
    assert backend.calls[JWKS] <= 2


@pytest.mark.parametrize(
    "missing", ["api_prefixes", "backend__verify", "backend__issuer", "backend__audience"]
)
def test_issuer_and_audience_must_be_known(missing: str) -> None:
    keys = {name: each for name, each in KEYS.items() if name != missing}
    with pytest.raises(SettingsError) as error:
        authapp.main({}, **settings("http://127.0.0.1:9", **keys))
    key = missing.replace("__", ".")
    assert f"authapp.api_bearer needs authapp.{key}" in str(error.value)


def test_a_token_that_nothing_verifies_signs_nobody_in() -> None:
    reader = Site("http://127.0.0.1:9").services.reader
    with pytest.raises(BackendRejected):
        reader.bearer(token(), time.time())
