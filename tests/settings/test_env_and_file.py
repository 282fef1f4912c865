"""Each setting may be a literal value, ``env:NAME`` or ``file:PATH``: contract section 6."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings, known_keys
from site_under_test import Site, settings

SECRET = "a secret for tests that is long enough"
GOOD = {"secret": SECRET, "backend.url": "https://auth.example.com"}
HERE = Path(__file__).parents[2]

OTHERS = {
    "backend.access_lifetime": "60",
    "backend.audience": "you",
    "backend.authorization": "JWT {access}",
    "backend.bulkhead": "2",
    "backend.ca": "",  # the test writes a file
    "backend.client_auth": "none",
    "backend.client_id": "web",
    "backend.client_secret": "s3cret",
    "backend.issuer": "me",
    "backend.leeway": "5",
    "backend.login": "POST /in\nname = {username}\nword = {password}\nscope = {scope}",
    "backend.logout": "none",
    "backend.preset": "oauth2",
    "backend.private_network": "true",
    "backend.refresh": "POST /again\nAuthorization: Bearer {refresh}",
    "backend.scope": "openid",
    "backend.timeout": "2.5",
    "backend.url": "https://other.example.com",
    "backend.userinfo": "GET /me\nAuthorization: Bearer {access}",
    "backend.verify": "secret:shared-by-both",
    "cors.headers": "X-Client",
    "cors.origins": "https://app.example.com\nhttps://b.example.com",
    "development": "true",
    "development.hosts": "box.example.com",
    "headers": "all",
    "host_session": "keep",
    "login.rate": "5/hour",
    "refresh.exclude": "/a /b",
    "secret": f"{SECRET} of its own\n{SECRET}",
    "session.cookie": "next-auth.session-token",
    "session.domain": "example.com",
    "session.format": "authjs-5",
    "session.samesite": "strict",
    "shared": "redis://:pass@redis.example.com/1",
}
"""Key -> a value that is not the default. The values of other keys are in :func:`value_of`."""

NEEDED = {
    "backend.audience": {"backend.verify": "secret:x"},
    "backend.client_auth": {"backend.client_id": "web"},
    "backend.client_secret": {"backend.client_id": "web"},
    "backend.issuer": {"backend.verify": "secret:x"},
    "backend.leeway": {"backend.verify": "secret:x"},
    "backend.scope": {"backend.login": OTHERS["backend.login"]},
    "cors.headers": {"cors.origins": "https://app.example.com"},
    "development.hosts": {"development": "true"},
}


def value_of(key: str) -> str | None:
    """Return a value for a key, or None if this test knows no value for the key."""
    if key in OTHERS:
        return OTHERS[key]
    if key.startswith("routes."):
        return "/moved"
    if key.startswith(("claims.", "backend.answer.")):
        return "some.where || elsewhere"
    if key == "api_prefixes":
        return "/api /v2"
    if key.startswith("refresh."):
        return "120"
    if key.endswith((".refused", ".locked", ".incomplete", ".throttled", ".done")):
        return "418"
    return None


KEYS = [key for each in known_keys() if value_of(key := each.removeprefix("authapp.")) is not None]


def read(values: dict[str, str]) -> Settings:
    return Settings.from_ini({f"authapp.{key}": value for key, value in values.items()})


def comparable(found: Settings) -> dict[str, Any]:
    parts = vars(found) | {"shown": None}
    return {name: repr(value) for name, value in parts.items()}


@pytest.mark.parametrize("kind", ["env", "file", "file with a byte-order mark"])
@pytest.mark.parametrize("key", KEYS)
def test_every_setting_can_come_from_the_environment_or_a_file(
    key: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = value_of(key) or ""
    if key == "backend.ca":
        import certifi

        value = certifi.where()
    others = GOOD | NEEDED.get(key, {})
    expected = read(others | {key: value})
    file = tmp_path / "of the setting"
    monkeypatch.setenv("OF_THE_SETTING", f" \ufeff{value} \n")
    file.write_text(f"\n {value}\n", "utf-8-sig" if "mark" in kind else "utf-8")
    text = "env:OF_THE_SETTING" if kind == "env" else f"file: {file}"
    found = read(others | {key: text})
    assert comparable(found) == comparable(expected)
    if key != "backend.private_network":  # it only allows values of other settings
        assert comparable(found) != comparable(read(others))
    assert found.shown[f"authapp.{key}"] in (text, "***")


def test_the_key_and_the_key_set_of_verify_can_come_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (tmp_path / "key.pem").write_text(pem)
    monkeypatch.setenv("KEY", pem)
    monkeypatch.setenv("KEYS", "https://auth.example.com/jwks")
    for text in ("pem:env:KEY", f"pem:file:{tmp_path}/key.pem", f"pem:{tmp_path}/key.pem"):
        verify = read(GOOD | {"backend.verify": text}).verify
        assert verify
        assert verify.pem
        assert verify.pem.strip() == pem.strip()
    verify = read(GOOD | {"backend.verify": "jwks:env:KEYS"}).verify
    assert verify
    assert verify.jwks == "https://auth.example.com/jwks"


@pytest.mark.parametrize("text", ["env:NOT_THERE", "file:/not/there"])
@pytest.mark.parametrize("key", ["backend.preset", "secret", "shared", "backend.login"])
def test_a_missing_variable_or_file_is_reported_with_the_key(key: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(GOOD | {key: text})
    (problem,) = (each for each in caught.value.problems if each.startswith(f"authapp.{key}"))
    assert text.partition(":")[2] in problem


@pytest.mark.parametrize("content", ["", " \n", "\ufeff\n"])
@pytest.mark.parametrize(
    "key", ["secret", "backend.client_id", "backend.issuer", "backend.url", "shared", "oidc.issuer"]
)
def test_an_empty_file_is_reported_with_the_key(key: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "of the setting"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        read(GOOD | NEEDED.get(key, {}) | {key: f"file:{file}"})
    (problem,) = (each for each in caught.value.problems if each.startswith(f"authapp.{key}"))
    assert problem.endswith(f"the file {file} is empty")


def test_a_line_of_the_secrets_and_the_secret_of_verify_can_name_no_empty_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").write_text("\n")
    for key, text in (("secret", f"{SECRET}\nfile:"), ("backend.verify", "secret:file:")):
        with pytest.raises(SettingsError, match=f"authapp.{key}.*is empty"):
            read(GOOD | {key: f"{text}{tmp_path}/empty"})


def test_the_sign_in_page_shows_users_that_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USERS", "zoe zoe-password zoe@example.com")
    import authapp

    ini = settings("embedded:") | {"issuer.users": "env:USERS", "issuer.secret": "x" * 32}
    site = Site(wsgi=authapp.main({}, **ini))
    assert "zoe-password" in site.get("/login")
    site.sign_in("zoe", status=303)
