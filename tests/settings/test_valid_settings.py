"""The settings of an ini file are read, and the others have defaults: contract section 6."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyramid.paster import get_appsettings

from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from settings.reading import LOCAL, SECRET, read

HERE = Path(__file__).parents[2]


def test_defaults() -> None:
    settings = read()
    assert settings.secrets == (SECRET.encode(),)
    assert settings.cookie.name == "__Host-authapp.session"
    assert (settings.cookie.secure, settings.cookie.samesite) == (True, "Lax")
    assert settings.session_format == "next-auth-4"
    assert settings.backend_url == "https://auth.example.com"
    assert settings.description.login.shown == "POST /api/token/"
    assert settings.backend_timeout == 5
    assert settings.verify is None
    assert settings.claims.id.source == "sub || user_id || id"
    assert settings.refresh_buffer == 300
    assert settings.refresh_reuse == 60
    assert settings.refresh_lifetime == 604_800
    assert settings.shared == "memory:"
    assert str(settings.login_rate) == "10 per 1 minute"
    assert settings.refresh_exclude == ("/static", "/health")
    assert settings.api_prefixes == settings.cors_origins == ()


def test_settings_are_read_from_the_ini_file() -> None:
    settings = read(
        session__cookie="next-auth.session-token",
        session__format="authjs-5",
        session__domain="example.com",
        session__samesite="strict",
        backend__preset="oauth2",
        backend__login="\n  POST /realms/x/token\n  name = {username}\n  word = {password}",
        backend__client_id="web",
        backend__client_secret="s3cret",
        backend__timeout="0.5",
        backend__verify="secret:shared-by-both",
        backend__issuer="me",
        backend__audience="you",
        backend__leeway="5",
        claims__roles="realm_access.roles || groups",
        refresh__buffer="60",
        api_prefixes="/api/ /v2",
        cors__origins="https://app.example.com http://localhost:3000",
        login__rate="5/hour",
    )
    assert settings.cookie.name == "next-auth.session-token"
    assert settings.cookie.samesite == "Strict"
    description = settings.description
    assert description.login.shown == "POST /realms/x/token"
    assert description.refresh
    assert description.refresh.shown == "POST /token"
    assert description.client_secret == "s3cret"
    assert description.client_auth == "basic"
    assert settings.backend_timeout == 0.5
    assert settings.verify
    assert (settings.verify.secret, settings.verify.issuer) == ("shared-by-both", "me")
    assert (settings.verify.audience, settings.verify.leeway) == ("you", 5)
    assert settings.claims.roles.source == "realm_access.roles || groups"
    assert settings.api_prefixes == ("/api", "/v2")
    assert settings.shown["authapp.backend.client_secret"] == "***"
    assert settings.shown["authapp.backend.verify"] == "***"
    assert settings.shown["authapp.secret"] == "***"
    for secret in (SECRET, "s3cret", "shared-by-both"):
        assert secret not in repr(settings)


def test_secrets_come_from_lines_the_environment_and_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_SECRET", "from the environment, of enough length")
    file = tmp_path / "secret"
    file.write_text("from a file, of more than enough length\n")
    settings = read(secret=f"\n  env:A_SECRET\n file:{file}\n{SECRET}")
    assert settings.secrets == (
        b"from the environment, of enough length",
        b"from a file, of more than enough length",
        SECRET.encode(),
    )
    assert read(backend__verify="secret:env:A_SECRET").verify
    assert read(secret="ENV:A_SECRET").secrets == settings.secrets[:1], (
        "the prefix may have upper case"
    )
    assert read(secret=f"File:{file}").secrets == settings.secrets[1:2]


def test_blank_lines_between_secrets_are_ignored() -> None:
    assert len(read(secret=f"\n{SECRET}\n\n   \n{SECRET[::-1]}\n").secrets) == 2


def test_development_allows_placeholders_and_the_embedded_backend() -> None:
    settings = read(
        LOCAL,
        secret="development-only-secret-for-nothing",
        backend__url="embedded:",
        backend__verify="jwks:embedded:",
    )
    assert settings.development
    assert settings.cookie.name == "authapp.session"
    assert not settings.cookie.secure
    assert settings.verify
    assert settings.verify.jwks == "embedded:"


def test_default_of_reuse_covers_a_long_timeout() -> None:
    settings = read(backend__url="https://auth.example.com", backend__timeout="60")
    assert settings.refresh_reuse == 125


def test_the_ini_files_of_the_project_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHAPP_SECRET", "x1y2z3w4" * 6)
    assert not Settings.from_ini(get_appsettings(str(HERE / "production.ini"))).development
    assert Settings.from_ini(get_appsettings(str(HERE / "development.ini"))).development
    monkeypatch.delenv("AUTHAPP_SECRET")
    with pytest.raises(SettingsError, match="the environment variable AUTHAPP_SECRET is not set"):
        Settings.from_ini(get_appsettings(str(HERE / "production.ini")))


def test_a_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (tmp_path / "key.pem").write_text(pem)
    verify = read(backend__verify=f"pem:{tmp_path / 'key.pem'}").verify
    assert verify
    assert verify.pem == pem


def test_any_value_can_come_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Any value can come from the environment or a file. White space at both ends, and a byte-order
    mark, are removed."""
    monkeypatch.setenv("REDIS_URL", "redis://localhost:1/0")
    (tmp_path / "url").write_bytes(b"\xef\xbb\xbfhttps://auth.example.com\r\n")
    settings = read(shared="env:REDIS_URL", backend__url=f"file:{tmp_path / 'url'}")
    assert settings.shared == "redis://localhost:1/0"
    assert settings.backend_url == "https://auth.example.com"
