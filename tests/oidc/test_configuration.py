"""A mistake in the settings or in the provider's metadata gives one clear line."""

import json
import threading
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pyramid.exceptions import ConfigurationExecutionError
from webob import Request
from webob import Response as Answer

from authapp.backend.http_client import BoundedSession
from authapp.backend.protocol import BackendRejected, BackendUnavailable, Credentials
from authapp.backend.unknown_issuer import UnknownIssuer
from authapp.oidc.metadata import Metadata
from authapp.session.token_pair import TokenPair
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from oidc.conftest import Browser, browser, oidc_settings
from servers import Served
from servers.oidc import KEY, Provider

URL = "https://id.example.com/realm/"


def read(**more: str) -> Settings:
    return Settings.from_ini(oidc_settings(URL, **more))


def problems(**more: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**more)
    return caught.value.problems


def test_the_defaults() -> None:
    client = read().oidc
    assert client is not None
    assert client.issuer == URL, "a slash at the end is part of the issuer"
    assert (client.client_auth, client.algorithm, client.logout) == ("basic", "RS256", "rp")
    assert client.scope == "openid profile email offline_access"
    assert "a-client-secret" not in repr(client)
    without = read(oidc__label="", oidc__client_secret="").oidc
    assert without is not None
    assert (without.label, without.client_auth) == ("id.example.com", "none")


@pytest.mark.parametrize(
    ("more", "methods"),
    [
        ({}, ("oidc",)),
        ({"backend__url": "http://b"}, ("password", "oidc")),
        ({"backend__url": "http://b", "login__methods": "oidc"}, ("oidc",)),
        ({"backend__url": "http://b", "login__methods": "password"}, ("password",)),
        ({"oidc__issuer": "", "backend__url": "http://b"}, ("password",)),
    ],
)
def test_the_ways_to_sign_in_follow_from_what_is_configured(
    more: dict[str, str], methods: tuple[str, ...]
) -> None:
    if not more.get("oidc__issuer", "x"):
        for key in ("client_id", "client_secret", "label"):
            more[f"oidc__{key}"] = ""
    assert read(**more).login_methods == methods


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"oidc__issuer": "ftp://x"}, "authapp.oidc.issuer = 'ftp://x': must be"),
        ({"oidc__client_id": ""}, "authapp.oidc.client_id is missing: set it"),
        ({"oidc__client_auth": "tls"}, "must be one of basic, post, private_key_jwt, none"),
        ({"oidc__client_auth": "private_key_jwt"}, "needs authapp.oidc.client_key"),
        ({"oidc__client_auth": "post", "oidc__client_secret": ""}, "oidc.client_secret"),
        ({"oidc__client_key": "no key"}, "must be a private key, in PEM format or as a JWK"),
        ({"oidc__client_key": '{"kty": "RSA"}'}, "must be a private key"),
        ({"oidc__scope": "profile"}, "must contain openid"),
        ({"oidc__prompt": "please"}, "must be one or more of none, login"),
        ({"oidc__max_age": "-1"}, "must be whole seconds"),
        ({"oidc__logout": "yes"}, "must be one of rp, local"),
        ({"oidc__algorithm": "HS256"}, "must be one of RS256"),
        ({"login__methods": "magic"}, "must be password, oidc or both"),
        ({"oidc__issuer": ""}, "authapp.oidc.client_id has no effect without authapp.oidc.issuer"),
        ({"oidc__issuer": "", "login__methods": "oidc"}, "oidc needs authapp.oidc.issuer"),
    ],
)
def test_a_mistake_is_one_line(more: dict[str, str], line: str) -> None:
    assert [each for each in problems(**more) if line in each]


def test_an_http_issuer_needs_development() -> None:
    (line,) = problems(
        development="false",
        oidc__issuer="http://id.example.com",
        secret="a secret of production, 48 bytes long, 123456789",
    )
    assert "must use https" in line


def test_passwords_need_a_backend() -> None:
    import authapp

    with pytest.raises(ConfigurationExecutionError, match=r"authapp\.backend\.url is missing"):
        authapp.main({}, **oidc_settings(URL, login__methods="password oidc"))


def test_the_algorithm_of_a_client_key_follows_from_the_key() -> None:
    def pem(key: Any) -> str:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    keys = {
        pem(KEY): "RS256",
        pem(ec.generate_private_key(ec.SECP256R1())): "ES256",
        pem(ec.generate_private_key(ec.SECP384R1())): "ES384",
        pem(ed25519.Ed25519PrivateKey.generate()): "EdDSA",
    }
    for text, algorithm in keys.items():
        client = read(oidc__client_key=text, oidc__client_secret="").oidc
        assert client is not None
        assert client.client_key is not None
        assert (client.client_auth, client.client_key.algorithm) == ("private_key_jwt", algorithm)
    problems(oidc__client_key=pem(x25519.X25519PrivateKey.generate()))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    problems(oidc__client_key=public.decode())
    problems(
        oidc__client_key=json.dumps(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), True))
    )


@pytest.mark.parametrize(
    ("secret", "key", "backend", "provider"),
    [
        (True, True, "private_key_jwt", "private_key_jwt"),
        (False, True, "private_key_jwt", "private_key_jwt"),
        (True, False, "basic", "basic"),
        (False, False, "post", "none"),
    ],
)
def test_the_default_of_client_auth_follows_from_the_credentials(
    secret: bool, key: bool, backend: str, provider: str
) -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    given = {"client_secret": "s3cret" * secret, "client_key": pem * key, "client_id": "web"}
    more = {f"{each}__{name}": text for each in ("backend", "oidc") for name, text in given.items()}
    settings = read(backend__url="http://b", backend__preset="oauth2", **more)
    assert settings.description.client_auth == backend
    assert settings.oidc is not None
    assert settings.oidc.client_auth == provider


def test_a_jwk_names_the_key_to_the_provider() -> None:
    jwk = {**jwt.algorithms.RSAAlgorithm.to_jwk(KEY, True), "kid": "k7", "alg": "PS256", "x5t": "t"}
    client = read(oidc__client_key=json.dumps(jwk)).oidc
    assert client is not None
    assert client.client_key is not None
    assert dict(client.client_key.header) == {"kid": "k7", "x5t": "t"}
    assert client.client_key.algorithm == "PS256"


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"issuer": "https://other.example"}, "set authapp.oidc.issuer to exactly that"),
        ({"issuer": None}, "no issuer"),
        ({"token_endpoint": None}, "the metadata has no token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri of the metadata must be an https URL"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "must be an https URL"),
        ({"end_session_endpoint": "https://x/?a#b"}, "must be an https URL"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not support PKCE with S256"),
    ],
)
def test_metadata_that_does_not_allow_a_sign_in_is_one_line(
    site: Browser,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    metadata: dict[str, Any],
    line: str,
) -> None:
    provider.metadata = metadata
    page = site.get("/login/oidc?next=/account", status=503)
    assert "Sign in with Example ID" in page
    assert line in caplog.text


def test_metadata_that_says_nothing_of_pkce_is_good(site: Browser, provider: Provider) -> None:
    provider.metadata = {"code_challenge_methods_supported": None}
    site.enter(status=303)


def test_an_endpoint_may_have_a_query(site: Browser, served: Served, provider: Provider) -> None:
    provider.metadata = {
        "authorization_endpoint": f"{served.url}/authorize?p=policy",
        "token_endpoint": f"{served.url}/token?p=policy",
    }
    site.enter(status=303)
    assert provider.authorizations[0].startswith("p=policy&response_type=code&")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_metadata_is_read_again_each_hour_and_kept_if_that_fails(
    served: Served, provider: Provider
) -> None:
    clock = Clock()
    metadata = Metadata(BoundedSession(1), served.url, True, clock)
    served.instead["/.well-known/openid-configuration"] = Answer(status=503)
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            metadata.endpoints()
    assert served.calls["/.well-known/openid-configuration"] == 1
    clock.now += 1
    served.instead.clear()
    first = metadata.endpoints()
    clock.now += 3600
    served.instead["/.well-known/openid-configuration"] = Answer(status=503)
    assert metadata.endpoints() is first
    clock.now += 60
    served.instead.clear()
    again = metadata.endpoints()
    assert again is not first
    assert again.keys is first.keys, "the keys that it has read stay"
    clock.now += 3600
    provider.metadata = {"jwks_uri": f"{served.url}/jwks?moved"}
    assert metadata.endpoints().keys is not first.keys


def test_a_provider_that_hangs_blocks_one_thread(served: Served, provider: Provider) -> None:
    metadata = Metadata(BoundedSession(5), served.url, True)
    began, go = threading.Event(), threading.Event()

    def hang(request: Request) -> None:
        began.set()
        assert go.wait(10)

    served.instead["/.well-known/openid-configuration"] = hang
    reading = threading.Thread(target=metadata.endpoints)
    reading.start()
    assert began.wait(5)
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="still being read"):
            metadata.endpoints()
    asked = time.monotonic()
    with pytest.raises(BackendUnavailable):
        metadata.endpoints()
    assert time.monotonic() - asked < 0.5, "once it is slow, nobody waits"
    go.set()
    reading.join()
    assert metadata.endpoints().token == f"{served.url}/token"


def test_metadata_that_is_being_read_again_is_used_meanwhile(
    served: Served, provider: Provider
) -> None:
    clock = Clock()
    metadata = Metadata(BoundedSession(5), served.url, True, clock)
    first = metadata.endpoints()
    began, go = threading.Event(), threading.Event()

    def hang(request: Request) -> None:
        began.set()
        assert go.wait(10)

    served.instead["/.well-known/openid-configuration"] = hang
    clock.now += 3600
    reading = threading.Thread(target=metadata.endpoints)
    reading.start()
    assert began.wait(5)
    assert metadata.endpoints() is first
    go.set()
    reading.join()
    assert metadata.endpoints() is not first


def test_a_thread_that_waited_uses_what_the_other_has_read(served: Served) -> None:
    metadata = Metadata(BoundedSession(5), served.url, True)

    def slow(request: Request) -> None:
        began.set()
        assert go.wait(5)

    began, go = threading.Event(), threading.Event()
    served.instead["/.well-known/openid-configuration"] = slow
    threads = [threading.Thread(target=metadata.endpoints) for _ in range(2)]
    threads[0].start()
    assert began.wait(5)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert served.calls["/.well-known/openid-configuration"] == 1


def test_a_site_without_passwords_has_no_backend_for_them(site: Browser) -> None:
    with pytest.raises(BackendRejected):
        site.services.backend.login(Credentials("a", "b"))
    with pytest.raises(BackendRejected):
        provider_of(site).login(Credentials("a", "b"))
    UnknownIssuer().logout(TokenPair("a", "b"))


def provider_of(site: Browser) -> Any:
    (found,) = site.services.providers.values()
    return found.renewal.backend


def test_the_health_check_asks_the_provider(site: Browser, served: Served) -> None:
    assert provider_of(site).reach()


def test_the_way_back_is_never_one_of_the_pages_of_the_sign_in(site: Browser) -> None:
    for path in ("/login", "/login/oidc", "/login/oidc/callback?code=1", "//evil.example"):
        assert site.enter(f"/login/oidc?next={path}").location == "/"


def test_tokens_of_another_issuer_are_not_sent(site: Browser, served: Served) -> None:
    for tokens in (TokenPair("a", "b"), TokenPair("a", "a", issuer=served.url)):
        with pytest.raises(BackendUnavailable):
            provider_of(site).refresh(tokens)
    assert served.calls["/token"] == 0


def test_a_route_can_be_left_out_or_moved(served: Served) -> None:
    site = browser(served, routes__logout_backchannel="none", routes__login_oidc="/sso")
    site.post("/logout/backchannel", {}, status=404)
    assert site.get("/login").location.startswith("/sso?next=")
    site.enter("/sso", status=303)
