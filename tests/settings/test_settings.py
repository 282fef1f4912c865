"""Reading the settings of an ini file: contract section 6."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyramid.paster import get_appsettings

from authapp.backend.description import Conditions
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings

SECRET = "a secret for tests that is long enough"
GOOD = {"authapp.secret": SECRET, "authapp.backend.url": "https://auth.example.com/"}
LOCAL = {**GOOD, "authapp.development": "true"}
HERE = Path(__file__).parents[2]


def read(ini: dict[str, Any] = GOOD, **more: str) -> Settings:
    return Settings.from_ini(
        ini | {f"authapp.{key.replace('__', '.')}": value for key, value in more.items()}
    )


def problems(ini: dict[str, Any] = GOOD, **more: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(ini, **more)
    return caught.value.problems


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


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "secret",
            "",
            "authapp.secret is missing: it needs at least 32 bytes; make a good one with",
        ),
        ("secret", "short", "authapp.secret: it has fewer than 32 bytes; make a good one with"),
        ("secret", f"{SECRET}\nshort", "authapp.secret: line 2 has fewer than 32 bytes"),
        ("secret", "ab" * 30, "authapp.secret: it has fewer than 8 different bytes"),
        ("secret", f"{SECRET}\n{SECRET}", "authapp.secret: two lines hold the same secret"),
        ("secret", "development-only" + "x" * 9 + SECRET, "authapp.secret: it is a placeholder"),
        (
            "secret",
            "env:NOT_THERE",
            "authapp.secret: the environment variable NOT_THERE is not set",
        ),
        ("secret", "file:/not/there", "authapp.secret: the file /not/there cannot be read"),
        ("development", "maybe", "authapp.development = 'maybe': must be true or false"),
        (
            "backend.url",
            "http://x",
            "must use https; http is allowed only with authapp.development",
        ),
        (
            "backend.url",
            "embedded:",
            "the embedded issuer is allowed only with authapp.development",
        ),
        ("backend.url", "ftp://x", "must be a URL such as https://auth.example.com"),
        ("backend.url", "https://", "a URL such as"),
        ("backend.url", "https://x:0/", "a URL such as"),
        ("backend.url", "https://[", "a URL such as"),
        ("backend.url", "https://u@x/", "a URL such as"),
        ("backend.preset", "ldap", "must be one of allauth, dj-rest-auth, djoser"),
        ("backend.ca", "/nowhere.pem", "the file cannot be read: No such file or directory"),
        ("backend.ca", __file__, "must be a file of certificates in PEM format"),
        ("backend.timeout", "0", "must be seconds from 0.05 to 60"),
        ("backend.timeout", "1e1", "must be seconds from 0.05 to 60"),
        ("backend.bulkhead", "0", "must be a whole number from 1 to 9999"),
        (
            "backend.verify",
            "none",
            "authapp.backend.verify: must be secret:…, jwks:URL or pem:PATH",
        ),
        ("backend.verify", "secret:", "must be secret:…, jwks:URL or pem:PATH"),
        ("backend.verify", "jwks:http://x", "must use https"),
        ("backend.url", "https://exa mple.com", "a URL such as"),
        ("backend.url", "https://x/?a=1", "a URL such as"),
        ("backend.url", "https://:pw@x/", "a URL such as"),
        ("backend.url", "https://x/\\y", "a URL such as"),
        (
            "backend.login",
            "login",
            "the first line must be a method (GET, POST, PUT, PATCH, DELETE)",
        ),
        ("backend.login", "none", "there is no sign-in without it"),
        ("backend.login", "POST .evil.com/x", "the path must begin with one /"),
        ("backend.refresh", "POST //evil.com/x", "the path must begin with one /"),
        (
            "backend.refresh",
            "POST /x/{username}",
            "{username} has no value in the path of this request; there are {client_id},",
        ),
        ("backend.login", "name = {username}\nPOST /x", "the first line must be a method"),
        (
            "backend.login",
            "POST /x\nname = {user}",
            "unknown placeholder {user} in 'name = {user}'",
        ),
        ("backend.login", "POST /x\nname", "a line must be Name: value or name = value"),
        ("backend.login", "POST /x\nname = {username", "a brace is not closed"),
        ("backend.login", "POST /x\na = 1\na.b = 2", "is both a value and an object"),
        ("backend.login", "POST /x\na..b = 2", "has an empty part"),
        ("backend.login", "POST /x\nHost: evil.example", "is set by the HTTP client"),
        ("backend.login", "POST /x\nX-A: 1\nx-a: 2", "the header x-a is there twice"),
        ("backend.login", "POST /x\nContent-Type: text/xml", "must be application/json or"),
        ("backend.answer.access", "body.[", "must be JMESPath; it fails at character"),
        ("backend.answer.access", "no_such(body)", "must be JMESPath"),
        ("backend.refresh.refused", "status = `400`", "must be JMESPath"),
        ("backend.authorization", "JWT", "must hold {access} and no other placeholder"),
        ("backend.client_auth", "mutual", "must be one of basic, post, private_key_jwt, none"),
        ("backend.verify", "pem:/nowhere", "a file with a public key in PEM format"),
        ("backend.verify", "jwks:embedded:", "works only with authapp.backend.url = embedded:"),
        ("backend.leeway", "5", "has no effect without authapp.backend.verify"),
        ("backend.issuer", "me", "has no effect without authapp.backend.verify"),
        ("backend.client_secret", "x", "has no effect without authapp.backend.client_id"),
        ("claims.id", ",", "must be JMESPath"),
        ("api_prefixes", ",", "must contain at least one word"),
        ("backend.scope", "openid", "no request of the backend has {scope}"),
        ("login.rate", "0/minute", "one rate such as"),
        ("login.rate", "10/minute;100/hour", "one rate such as"),
        ("session.cookie", "x" * 129, "up to 128 letters"),
        ("session.cookie", "$Version", "up to 128 letters"),
        ("session.cookie", "__Host-authapp.csrf", "another cookie has this name"),
        ("session.domain", "1.2.3.4", "a domain such as"),
        ("session.domain", "-", "a domain such as"),
        (
            "refresh.buffer",
            "-1",
            "authapp.refresh.buffer = '-1': must be whole seconds from 0 to 86400",
        ),
        ("refresh.lifetime", "0", "must be whole seconds from 1 to 315360000"),
        ("session.cookie", "a b", "up to 128 letters, digits and"),
        ("session.format", "jwt", "must be one of next-auth-4, authjs-5"),
        ("session.domain", "a b", "must be a domain such as example.com"),
        ("session.samesite", "no", "must be one of Lax, Strict, None"),
        (
            "shared",
            "memcached://x",
            "authapp.shared: must be memory:, redis://…, rediss://…, redis+",
        ),
        ("login.rate", "often", "must be one rate such as 10/minute or 100/hour"),
        ("api_prefixes", "api", "must be path prefixes that begin with /"),
        ("cors.origins", "https://a/b", "must be origins such as https://app.example.com"),
        ("cors.origins", "*", "origins such as"),
        ("cors.headers", "X-Client", "has no effect without authapp.cors.origins"),
        ("host_session", "drop", "must be one of invalidate, keep"),
        ("refresh.bufer", "1", "authapp.refresh.bufer is not a setting; the nearest is authapp.re"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_allowed(key: str, value: str, says: str) -> None:
    (problem,) = problems(GOOD | {f"authapp.{key}": value})
    assert says in problem


def test_a_missing_setting_names_a_similar_key_with_another_prefix() -> None:
    """If a setting is missing, the message names a similar key with another prefix. If no setting
    is missing, such a key is no problem, because it may belong to another package."""
    for other in ("secret", "autapp.secret"):
        ini = {other: SECRET, "authapp.backend.url": "https://x.example"}
        (problem,) = problems(ini)
        assert problem.startswith("authapp.secret is missing")
        assert problem.endswith(f"({other} is set, which is another key)")
    assert "is set" not in problems({"other.secret": SECRET})[0]
    read(GOOD | {"autapp.secret": SECRET})


def test_messages_mention_the_embedded_backend_only_in_development() -> None:
    (problem,) = problems(LOCAL, backend__url="embedded")
    assert "must be a URL such as https://auth.example.com or embedded:" in problem
    assert "embedded" not in problems(GOOD, backend__url="localhost")[0]
    (problem,) = problems(LOCAL, backend__verify="jwks:embedded")
    assert "jwks:embedded:, or jwks: and a URL such as https://auth" in problem
    assert "embedded" not in problems(GOOD, backend__verify="jwks:localhost")[0]
    (problem,) = problems(
        LOCAL, backend__url="embedded:", backend__verify="secret:that-signs-nothing"
    )
    assert "secret:… cannot verify tokens of embedded:" in problem
    assert "signs-nothing" not in problem


def test_a_leeway_out_of_bounds_is_refused() -> None:
    (problem,) = problems(backend__verify="secret:x", backend__leeway="601")
    assert "must be whole seconds from 0 to 600" in problem


def test_blank_lines_between_secrets_are_ignored() -> None:
    assert len(read(secret=f"\n{SECRET}\n\n   \n{SECRET[::-1]}\n").secrets) == 2


def test_cookie_settings_that_contradict_each_other_are_refused() -> None:
    assert "needs https" in problems(LOCAL, session__cookie="__Host-x")[0]
    assert "needs https" in problems(LOCAL, session__samesite="none")[0]
    assert read(session__samesite="none").cookie.samesite == "None"
    assert (
        "cannot be used with authapp.session.domain"
        in problems(session__cookie="__Host-x", session__domain="x.y")[0]
    )


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


@pytest.mark.parametrize(
    ("timeout", "reuse", "least"),
    [("5", "0", 15), ("5", "14", 15), ("0.3", "5", 6), ("60", "60", 125)],
)
def test_reuse_covers_the_requests_that_are_under_way(timeout: str, reuse: str, least: int) -> None:
    keys = {"backend__url": "https://auth.example.com", "backend__timeout": timeout}
    (problem,) = problems(refresh__reuse=reuse, **keys)
    assert problem == (
        f"authapp.refresh.reuse = {reuse}: must be at least {least}, which is twice"
        " authapp.backend.timeout and 5 seconds"
    )
    assert read(refresh__reuse=str(least), **keys).refresh_reuse == least


def test_default_of_reuse_covers_a_long_timeout() -> None:
    settings = read(backend__url="https://auth.example.com", backend__timeout="60")
    assert settings.refresh_reuse == 125


def test_a_password_in_a_url_is_not_shown() -> None:
    (problem,) = problems(backend__url="https://user:hunter2@auth.example.com")
    assert "hunter2" not in problem
    assert "a URL such as" in problem


def test_all_problems_are_reported_at_once_without_secrets() -> None:
    said = problems(
        {"other.key": "left alone"}, secret="short-secret", refresh__reuse="x", nonsense="1"
    )
    assert len(said) == 4
    assert "short-secret" not in "".join(said)
    assert any("authapp.backend.url is missing" in each for each in said)


def test_the_ini_files_of_the_project_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHAPP_SECRET", "x1y2z3w4" * 6)
    assert not Settings.from_ini(get_appsettings(str(HERE / "production.ini"))).development
    assert Settings.from_ini(get_appsettings(str(HERE / "development.ini"))).development
    monkeypatch.delenv("AUTHAPP_SECRET")
    with pytest.raises(SettingsError, match="the environment variable AUTHAPP_SECRET is not set"):
        Settings.from_ini(get_appsettings(str(HERE / "production.ini")))


@pytest.mark.parametrize("name", ["login", "refresh", "logout", "userinfo"])
def test_an_empty_request_is_neither_none_nor_the_presets(name: str) -> None:
    (problem,) = problems(**{f"backend__{name}": " "})
    assert problem.startswith(f"authapp.backend.{name} is empty; write none")


MISSING = "authapp.backend.{} is missing: with authapp.backend.preset = none, set it to {}"


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({}, ["login", "login.refused", "refresh", "logout", "answer.access"]),
        ({"backend__refresh": " "}, ["login", "login.refused", "logout", "answer.access"]),
        (
            {"backend__refresh": "POST /renew\ntoken = {refresh}", "backend__logout": "none"},
            ["login", "login.refused", "answer.access", "refresh.refused", "answer.refresh"],
        ),
        (
            {
                "backend__login": "POST /in\nname = {username}",
                "backend__login__refused": "401",
                "backend__answer__access": "body.token",
                "backend__logout": "none",
                "backend__refresh": "POST /renew\nAuthorization: Bearer {access}",
            },
            ["refresh.refused"],
        ),
        ({"oidc__issuer": "https://id", "oidc__client_id": "x", "login__methods": "oidc"}, []),
    ],
)
def test_without_a_preset_each_missing_line_is_one_problem(
    more: dict[str, str], missing: list[str]
) -> None:
    keys = {"backend__preset": "none", **more}
    if not missing:
        assert "authapp.backend.login" not in read(**keys).shown
        return
    found = [each for each in problems(**keys) if "is empty" not in each]
    for line, name in zip(found, missing, strict=True):
        assert line.startswith(MISSING.format(name, ""))


def test_without_a_preset_only_the_lines_of_the_file_are_in_force() -> None:
    lines = {
        "backend__preset": "none",
        "backend__login": "POST /in\nname = {username}",
        "backend__login__refused": "none",
        "backend__answer__access": "body.token",
        "backend__refresh": "none",
        "backend__logout": "none",
    }
    description = read(**lines).description
    assert description.conditions == Conditions()
    assert description.answers.refresh is None


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


def test_invalid_development_hosts_are_refused() -> None:
    (problem,) = problems(LOCAL, development__hosts="https://x")
    assert "must be host names such as box.example.com, without ports" in problem
    (problem,) = problems(development__hosts="box")
    assert "authapp.development.hosts has no effect without authapp.development" in problem


@pytest.mark.parametrize("text", ["*", "X Client: 1", "X-Client;", "Ä"])
def test_cors_headers_are_names(text: str) -> None:
    (problem,) = problems(cors__origins="https://app.example.com", cors__headers=text)
    assert "must be names of headers such as X-Client-Version" in problem
