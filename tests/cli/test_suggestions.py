"""The command line suggests settings that describe a response of the backend."""

from typing import Any

import pytest

from authapp.backend.description import Answers
from authapp.backend.expressions import NEVER, Response, condition, expression, read_response
from authapp.backend.token_reader import Verify
from authapp.cli import suggestions
from authapp.settings.settings import Settings
from site_under_test import description

TOKEN = "t0" * 20


def answer(body: str = "{}", status: int = 200, cookies: tuple[str, ...] = ()) -> Response:
    return read_response(status, {"X-Token": TOKEN}, list(cookies), body.encode())


def refusal(content: Response, now: str) -> str:
    (line,) = suggestions.for_refusal("login", "login.refused", content, condition(now))
    return line.removeprefix("authapp.backend.login.refused = ")


@pytest.mark.parametrize(
    ("body", "now", "proposed"),
    [
        ("[]", "none", "403"),
        ("{}", "400 422", "400 403 422"),
        ('{"code": "locked"}', "none", "status == `403` && body.code == 'locked'"),
        (
            '{"code": "locked"}',
            "400",
            "status == `400` || status == `403` && body.code == 'locked'",
        ),
        ("{}", "body.x ==\n  'y'", "body.x == 'y' || status == `403`"),
        ('{"code": "it\'s"}', "none", "403"),
        ('{"code": ["locked"]}', "none", "403"),
    ],
)
def test_a_refusal_adds_to_what_the_setting_says(body: str, now: str, proposed: str) -> None:
    content = answer(body, 403)
    assert refusal(content, now) == proposed
    assert condition(proposed)(content)


@pytest.mark.parametrize("status", [404, 405])
def test_a_path_that_is_not_there_is_the_request(status: int) -> None:
    content = answer(status=status)
    (line,) = suggestions.for_logout(content, NEVER)
    assert line.startswith("# authapp.backend.logout: the method or the path")


def test_a_sign_out_that_is_answered_otherwise_is_described() -> None:
    assert suggestions.for_logout(answer(status=302), NEVER) == [
        "authapp.backend.logout.done = 302"
    ]


def test_tokens_are_found_in_cookies_and_under_odd_names() -> None:
    cookies = (f"jwt-refresh={TOKEN}; Path=/",)
    found = suggestions.for_tokens(answer(f'{{"d": {{"access-token": "{TOKEN}"}}}}', 200, cookies))
    assert found == [
        'authapp.backend.answer.access = body.d."access-token"',
        'authapp.backend.answer.refresh = cookies."jwt-refresh"',
    ]


def test_a_renewal_may_have_the_first_refresh_token() -> None:
    content = answer(f'{{"access": "{TOKEN}", "refresh": "{TOKEN}2"}}')
    answers = Answers(access=expression("body.access"))
    assert suggestions.for_renewed_tokens(content, answers) == [
        "authapp.backend.answer.refresh = body.refresh"
    ]


def test_an_answer_without_anything_like_a_token_proposes_nothing() -> None:
    content = read_response(200, {}, [], b'{"token": "short", "access": 1, "a": ["b"]}')
    assert suggestions.for_tokens(content) == []


def test_names_that_cannot_stand_in_a_setting_are_left_out() -> None:
    deep: Any = {"token": TOKEN}
    for _ in range(8):
        deep = {"a": deep}
    body = {'a"b': {"token": TOKEN}, "a\nb": {"token": TOKEN}, "d": deep}
    content = {"status": 200, "headers": {}, "cookies": {}, "body": body}
    assert suggestions.for_tokens(content) == []


def test_a_lifetime_is_found_or_named() -> None:
    assert suggestions.for_lifetime(answer('{"x": {"expiresIn": 60, "expires": true}}')) == [
        "authapp.backend.answer.expires_in = body.x.expiresIn"
    ]
    assert suggestions.for_lifetime(answer()) == ["authapp.backend.access_lifetime = 300"]


def test_the_user_is_found_in_claims_in_the_answer_or_asked_for() -> None:
    plain = description(backend__userinfo="none")
    assert suggestions.for_user(answer(), {"user": {"uid": 7}, "exp": 1}, plain) == [
        "authapp.claims.id = user.uid"
    ]
    assert suggestions.for_user(answer('{"user": {"id": 7}}'), {}, plain) == [
        "authapp.backend.answer.user = body.user"
    ]
    assert suggestions.for_user(answer('{"user": {"pk": 7}}'), {}, plain) == [
        "authapp.backend.answer.user = body.user",
        "authapp.claims.id = pk",
    ]
    asked = suggestions.for_user(answer(), {}, plain)
    assert asked[1] == "authapp.backend.userinfo ="
    assert Settings.from_ini(
        {
            "authapp.secret": "a secret for tests that is long enough, 1",
            "authapp.backend.url": "https://x",
            "authapp.backend.userinfo": "GET /me\nAuthorization: Bearer {access}",
        }
    ).description.userinfo
    known = description(backend__userinfo="GET /me\nAuthorization: Bearer {access}")
    assert suggestions.for_user(answer(), {}, known)[0].startswith("# authapp.claims.id")


def test_roles_are_found_in_claims_and_in_the_user() -> None:
    claims = {"realm_access": {"roles": ["admin"]}, "groups": []}
    assert suggestions.for_roles(claims, {}) == ["authapp.claims.roles = realm_access.roles"]
    assert suggestions.for_roles({}, {"role": "editor"}) == ["authapp.claims.roles = role"]
    assert suggestions.for_roles({}, {"name": "alice"}) == []


@pytest.mark.parametrize(
    ("header", "claims", "verify", "proposed"),
    [
        ({"alg": "RS256"}, {}, Verify(secret="x"), ["RS256", "jwks:URL"]),
        ({"alg": "HS256"}, {}, Verify(jwks="x"), ["HMAC", "secret:…"]),
        ({"alg": "HS256"}, {"iss": "a"}, Verify(secret="x", issuer="a"), []),
        ({}, {"iss": "b"}, Verify(secret="x", issuer="a"), ["backend.issuer = b"]),
        ({}, {"aud": ["b"]}, Verify(secret="x", audience="a"), ["backend.audience = b"]),
        ({}, {"aud": ["a", "b"]}, Verify(secret="x", audience="a"), []),
        ({}, {}, Verify(secret="x", audience="a"), ["leave it out, the token has no aud"]),
    ],
)
def test_what_a_token_says_of_itself_is_proposed(
    header: dict[str, str], claims: dict[str, Any], verify: Verify, proposed: list[str]
) -> None:
    found = suggestions.for_verification(header, claims, verify)
    assert len(found) == len(proposed)
    for line, part in zip(found, proposed, strict=True):
        assert part in line


def test_an_algorithm_of_the_token_is_not_repeated_unless_it_is_known() -> None:
    assert "evil" not in str(suggestions.for_verification({"alg": "HSevil"}, {}, Verify(pem="x")))


def test_no_condition_is_as_none() -> None:
    assert suggestions.for_refusal("refresh", "refresh.refused", answer(status=400), NEVER) == [
        "authapp.backend.refresh.refused = 400"
    ]
