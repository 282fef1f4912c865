"""What start-up refuses because it is weak (threat O1)."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.test_settings import LOCAL, problems, read


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("abc", "has fewer than 32 bytes; make a good one with"),
        ("ab" * 30, "has fewer than 8 different bytes"),
        ("django-insecure-0h1z&x8w3!k2m5n7q9t4v6", "is a placeholder, which contains 'insecure'"),
    ],
)
def test_o1_a_weak_secret_that_verifies_tokens_is_refused(secret: str, says: str) -> None:
    """Somebody who sees one token can try each guess offline, and can then forge any user."""
    (problem,) = problems(backend__verify=f"secret:{secret}")
    assert problem.startswith(f"authapp.backend.verify: the secret {says}")
    assert secret not in problem
    assert read(LOCAL, backend__verify=f"secret:{secret}").verify, "the backend on a laptop"


@pytest.mark.parametrize(
    "secret",
    [
        "please-change-this-secret-before-production",
        "your-secret-key-here-your-secret-key-here",
        "Change_Me! Change_Me! 0123456789 012345",
        "SUPER-SECRET-jwt-signing-key-0123456789",
        "REPLACE_WITH_A_LONG_RANDOM_STRING_OF_BYTES",
        "<put your long and random text in here>",
        "qwertyuiopasdfghjklzxcvbnm123456",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "x9 development only x9 development only",
        "${AUTHAPP_SECRET}-and-more-characters-xyz",
        "$(openssl rand -base64 48) 0123456789",
        "%(here)s/a-file-that-nobody-has-read-1",
        "{{ vault.authapp_session_key }} {{ x }}",
    ],
)
def test_o1_a_placeholder_is_refused_outside_development(secret: str) -> None:
    (problem,) = problems(secret=secret)
    assert problem.startswith("authapp.secret: it is a placeholder, which contains '")
    assert "is allowed only with authapp.development = true; make a good one with" in problem
    assert secret not in problem
    assert read(LOCAL, secret=secret).secrets
    (problem,) = problems(backend__verify=f"secret:{secret}")
    assert problem.startswith("authapp.backend.verify: the secret is a placeholder")


@given(st.binary(min_size=36, max_size=36))
def test_o1_a_random_secret_is_accepted(data: bytes) -> None:
    secret = base64.urlsafe_b64encode(hashlib.sha384(data).digest()).decode()
    assert read(secret=secret, backend__verify=f"secret:{secret}").secrets


PUBLIC = [
    "8.8.8.8",
    "8.8.8.8.",
    "8.8.2056",
    "134744072",
    "0x08080808",
    "010.8.8.8",
    "%38.8.8.8",
    "[2001:4860:4860::8888]",
    "[::ffff:8.8.8.8]",
]
PRIVATE = [
    "10.0.0.5",
    "172.20.0.3",
    "192.168.1.9",
    "127.1",
    "100.64.0.7",
    "[fd00::5]",
    "[fe80::1%25eth0]",
    "[::ffff:10.0.0.5]",
    "backend",
    "backend.default.svc.cluster.local",
]


@pytest.mark.parametrize("host", PUBLIC)
def test_o1_a_private_network_has_no_public_address(host: str) -> None:
    private, url = {"backend__private_network": "true"}, f"http://{host}:8000"
    for key, value in {
        "backend__url": url,
        "backend__verify": f"jwks:{url}/jwks",
        "oidc__issuer": url,
        "proxy": f"/api = {url}",
    }.items():
        more = {"oidc__client_id": "web"} if key.startswith("oidc") else {}
        (problem,) = problems(**private, **more, **{key: value})
        assert problem.startswith(f"authapp.{key.replace('__', '.')}")
        assert "must use https, because its address is public" in problem
        assert "only for names and for private addresses such as 10.0.0.5" in problem
    assert read(LOCAL, backend__url=url).backend_url == url


@pytest.mark.parametrize("host", PRIVATE)
def test_o1_a_private_network_has_names_and_private_addresses(host: str) -> None:
    url = f"http://{host}:8000"
    assert read(backend__private_network="true", backend__url=url).backend_url == url
