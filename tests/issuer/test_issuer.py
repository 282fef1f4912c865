"""The embedded issuer works as a backend in a separate process."""

import time
from typing import Any

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from webtest import TestApp

from authapp.issuer import main, read_users
from authapp.settings.ini import SettingsError
from servers import BLACKLIST, ISSUER_SETTINGS, LOGIN, REFRESH
from site_under_test import settings

ALICE = {"username": "alice", "password": "alice-password"}


@pytest.fixture
def issuer() -> TestApp:
    return TestApp(main({}, **ISSUER_SETTINGS))


def test_sign_in_returns_tokens_with_the_users_claims(issuer: TestApp) -> None:
    pair = issuer.post_json(LOGIN, ALICE).json
    key = jwt.PyJWKSet.from_dict(issuer.get("/.well-known/jwks.json").json).keys[0]
    claims = jwt.decode(pair["access"], key, algorithms=["EdDSA"])
    assert claims["user_id"] == 1
    assert claims["roles"] == ["admin"]
    assert claims["exp"] - claims["iat"] == 900
    me = issuer.get("/me", headers={"Authorization": f"Bearer {pair['access']}"}).json
    assert me == {"id": 1, "name": "alice", "email": "alice@example.com", "roles": ["admin"]}
    assert issuer.post(LOGIN, ALICE).json, "a form is accepted too"


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_wrong_credentials_are_refused(issuer: TestApp, name: str) -> None:
    answer = issuer.post_json(LOGIN, {"username": name, "password": "wrong"}, status=401)
    assert answer.json["code"] == "no_active"


@pytest.mark.parametrize("body", ["", "{", "[]", "1", '{"username": "alice"}', "[" * 100_000])
def test_missing_fields_are_refused(issuer: TestApp, body: str) -> None:
    answer = issuer.post(LOGIN, body, content_type="application/json", status=400)
    assert answer.json["password"] == ["This field is required."]


def test_tokens_expire_no_later_than_the_session() -> None:
    issuer = TestApp(main({}, **ISSUER_SETTINGS, **{"issuer.session_lifetime": "1000"}))
    with time_machine.travel(0, tick=False) as clock:
        pair = issuer.post_json(LOGIN, ALICE).json
        clock.shift(500)
        pair = issuer.post_json(REFRESH, {"refresh": pair["refresh"]}).json
        for token in pair.values():
            claims = jwt.decode(token, options={"verify_signature": False})
            assert (claims["auth_time"], claims["exp"]) == (0, 1000)


def test_reuse_of_a_spent_refresh_token_ends_its_family(issuer: TestApp) -> None:
    first = issuer.post_json(LOGIN, ALICE).json["refresh"]
    second = issuer.post_json(REFRESH, {"refresh": first}).json["refresh"]
    third = issuer.post_json(REFRESH, {"refresh": second}).json["refresh"]
    assert len({first, second, third}) == 3
    assert issuer.post_json(REFRESH, {"refresh": first}, status=401).json["code"]
    issuer.post_json(REFRESH, {"refresh": third}, status=401)


def test_a_blacklisted_refresh_token_is_refused(issuer: TestApp) -> None:
    refresh = issuer.post_json(LOGIN, ALICE).json["refresh"]
    issuer.post_json(BLACKLIST, {"refresh": refresh})
    issuer.post_json(REFRESH, {"refresh": refresh}, status=401)
    for nonsense in ("nonsense", "\ud800", 1, ["x"]):
        issuer.post_json(BLACKLIST, {"refresh": nonsense}, status=401)


def test_expired_refresh_tokens_are_dropped(issuer: TestApp) -> None:
    refresh = issuer.post_json(LOGIN, ALICE).json["refresh"]
    issuer.post_json(REFRESH, {"refresh": refresh})
    issuer.post_json(BLACKLIST, {"refresh": refresh})
    with time_machine.travel(time.time() + 604_801):
        issuer.post_json(REFRESH, {"refresh": refresh}, status=401)
        another = issuer.post_json(LOGIN, ALICE).json["refresh"]
        issuer.post_json(REFRESH, {"refresh": another})


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic eDp5"])
def test_me_without_a_valid_token_is_refused(issuer: TestApp, header: str) -> None:
    issuer.get("/me", headers={"Authorization": header}, status=401)


def test_access_and_refresh_tokens_are_not_interchangeable(issuer: TestApp) -> None:
    pair: Any = issuer.post_json(LOGIN, ALICE).json
    issuer.get("/me", headers={"Authorization": f"Bearer {pair['refresh']}"}, status=401)
    issuer.post_json(REFRESH, {"refresh": pair["access"]}, status=401)


def test_errors_are_json(issuer: TestApp) -> None:
    assert issuer.get("/nowhere", status=404).json == {"detail": "Not Found"}


def test_users_are_read_from_lines() -> None:
    (user,) = read_users("dora sesame d@example.com a b")
    assert (user.id, user.name, user.roles) == (1, "dora", ("a", "b"))
    assert "sesame" not in repr(user)
    for line in ("dora sesame", "dora d@example.com admin"):
        with pytest.raises(ValueError, match="line 1 must be: name password email"):
            read_users(line)


def test_an_issuer_without_settings_has_no_users(caplog: pytest.LogCaptureFixture) -> None:
    TestApp(main({})).post_json(LOGIN, ALICE, status=401)
    assert "NoUsers: issuer.users is empty" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("access_lifetime", "5m", "= '5m': must be whole seconds from 1 to 1000000000"),
        ("refresh_lifetime", "0", "= '0': must be whole seconds from 1 to 1000000000"),
        ("session_lifetime", "-5", "= '-5': must be whole seconds from 1 to 1000000000"),
        ("users", "alice alice-password", ": line 1 must be: name password email role …"),
        ("acces_lifetime", "20", "is not a setting; the nearest is issuer.access_lifetime"),
    ],
)
def test_invalid_settings_are_reported_at_start_up(key: str, value: str, says: str) -> None:
    """A site that embeds the issuer reports a bad setting in the same words as the separate
    issuer."""
    wrong = {f"issuer.{key}": value}
    site = Configurator(settings=settings("embedded:") | wrong)
    for start in (lambda: main({}, **wrong), lambda: site.include("authapp")):
        with pytest.raises(SettingsError) as caught:
            start()
        (problem,) = caught.value.problems
        assert problem.startswith(f"issuer.{key}")
        assert problem.endswith(says)
        assert "alice-password" not in problem
