"""``authapp check --login`` walks through a session, and says which settings the backend needs."""

import json
from pathlib import Path
from typing import Any

import pytest
from webob import Response

from authapp.cli.masking import mask_body
from cli.checking import (
    HERE,
    KNOWN,
    OPAQUE,
    SECRET,
    findings,
    lines,
    other_backend,
    pair,
    run,
    walk,
    write,
)
from servers import BLACKLIST, LOGIN, REFRESH, Served

IF_WRONG = "# if the password is wrong; otherwise see authapp.backend.login:"
WRONG_REFRESH = "# authapp.backend.refresh: its method, path, headers or fields are wrong"


def test_a_whole_session_is_walked_and_nothing_secret_is_shown(
    tmp_path: Path, backend: Served
) -> None:
    tokens: list[str] = []

    def keep(request: Any) -> None:
        tokens.extend(request.json.values())

    for path in (LOGIN, REFRESH, BLACKLIST):
        backend.instead[path] = keep
    jwks = f"jwks:{backend.url}/.well-known/jwks.json"
    ini = write(tmp_path, backend.url, backend__verify=jwks)
    result = run(ini, "--login", "alice")
    assert result.exit_code == 0, result.output
    for said in (
        "the backend has issued tokens",
        f"> POST {backend.url}/api/token/",
        '> {"username": "alice", "password": "***"}',
        '< {"access": "***", "refresh": "***"}',
        "id 1; email alice@example.com; name alice; roles admin",
        "the access token is valid for 900 s, the refresh token for 604800 s",
        "in 1 cookie",
        "a new access token and a new refresh token",
        "the backend has ended the session",
        "the refresh token is refused, as described: status 401",
    ):
        assert said in result.output
    assert "alice-password" in tokens
    for secret in tokens:
        assert secret == "alice" or secret not in result.output
    assert [backend.calls[path] for path in (LOGIN, REFRESH, BLACKLIST)] == [1, 2, 1]


def test_the_embedded_issuer_is_checked_like_a_backend() -> None:
    found = findings(str(HERE / "development.ini"), "--login", "alice")
    assert ("sign-in", "ok", "the backend has issued tokens") in found


def test_a_wrong_password_is_a_problem_that_the_settings_describe(
    tmp_path: Path, backend: Served
) -> None:
    result = run(write(tmp_path, backend.url), "--login", "alice", password="wrong-password")
    assert result.exit_code == 1
    assert "the backend refuses, as the settings describe it (BackendRejected)" in result.output
    assert "wrong-password" not in result.output


@pytest.mark.parametrize(
    ("answer", "proposed"),
    [
        (Response(status=404), ["# authapp.backend.login: the method or the path"]),
        (
            Response(status=422, json={"error": {"code": "bad_login"}}),
            [IF_WRONG, " || status == `422` && body.error.code == 'bad_login'"],
        ),
        (Response(status=418, json={"detail": "no"}), [IF_WRONG, " || status == `418`"]),
        (
            Response(json={"data": {"accessToken": "a" * 30, "refreshToken": "b" * 30}}),
            [
                "authapp.backend.answer.access = body.data.accessToken",
                "authapp.backend.answer.refresh = body.data.refreshToken",
            ],
        ),
        (
            Response(json={"data": {"jwt": "a" * 30}}),
            [
                "authapp.backend.answer.access = body.data.jwt",
                "# if",
                "authapp.backend.refresh = none",
            ],
        ),
    ],
)
def test_an_answer_to_a_sign_in_that_is_not_described_gives_the_setting(
    tmp_path: Path, backend: Served, answer: Response, proposed: list[str]
) -> None:
    backend.instead[LOGIN] = answer
    found = lines(write(tmp_path, backend.url), "--login", "alice")["sign-in"]
    assert len(found) == len(proposed)
    for line, part in zip(found, proposed, strict=True):
        assert part in line
    assert "a" * 24 not in str(run(write(tmp_path, backend.url), "--login", "alice").output)


def test_the_proposed_settings_work(tmp_path: Path, backend: Served) -> None:
    """Add the settings that ``authapp check`` proposes, until it reports no problem."""

    def wrapped(request: Any) -> Response:
        reply = request.get_response(backend.application)
        if reply.status_int == 200:
            return Response(json={"data": {"tokens": reply.json}})
        return Response(status=409, json={"error": "not_allowed"})

    backend.instead[LOGIN] = backend.instead[REFRESH] = wrapped

    def moved(request: Any) -> Response:
        request.get_response(backend.application)
        return Response(status=302, location="https://x.example/bye")

    backend.instead[BLACKLIST] = moved
    more: dict[str, str] = {"backend__verify": f"jwks:{backend.url}/.well-known/jwks.json"}
    rounds = 0
    while True:
        ini = write(tmp_path, backend.url, **more)
        result = run(ini, "--login", "alice", "--json")
        if result.exit_code == 0:
            break
        rounds += 1
        assert rounds < 6, result.output
        for found in json.loads(result.output)["findings"]:
            for line in found["settings"]:
                key, _, text = line.removeprefix("authapp.").partition(" = ")
                more[key.replace(".", "__")] = text
    assert more["backend__answer__access"] == "body.data.tokens.access"
    assert "not_allowed" in more["backend__refresh__refused"]
    assert more["backend__logout__done"] == "302"


def test_an_opaque_token_needs_a_user_and_a_lifetime(tmp_path: Path) -> None:
    login = pair(user={"id": 7}, expires_in=60)
    found = walk(tmp_path, {LOGIN: login})
    assert found["identity"]["settings"] == ["authapp.backend.answer.user = body.user"]
    assert found["sign-out"]["level"] == "ok"
    found = walk(tmp_path, {LOGIN: login}, backend__answer__user="body.user")
    assert found["identity"]["settings"] == ["authapp.backend.answer.expires_in = body.expires_in"]
    assert OPAQUE not in str(found)


def test_roles_under_another_name_and_a_session_without_refresh_or_logout(tmp_path: Path) -> None:
    login = pair(user={"id": 7, "groups": ["admin"]}, expires_in=60)
    found = walk(tmp_path, {LOGIN: login}, **KNOWN, backend__refresh="none", backend__logout="none")
    assert found["roles"]["settings"] == ["authapp.claims.roles = groups"]
    assert [found[each]["level"] for each in ("verify", "renewal", "sign-out")] == ["note"] * 3
    assert "ended" not in found


def test_a_sign_out_of_a_backend_without_refresh_ends_there(tmp_path: Path) -> None:
    login = pair(user={"id": 7}, expires_in=60)
    found = walk(tmp_path, {LOGIN: login}, **KNOWN, backend__refresh="none")
    assert found["sign-out"]["level"] == "ok"
    assert "ended" not in found


def test_a_renewal_is_compared_with_the_session(tmp_path: Path) -> None:
    login = pair(user={"id": 7}, expires_in=60)
    other = pair(user={"id": 8}, expires_in=60)
    found = walk(tmp_path, {LOGIN: login, REFRESH: other}, **KNOWN)
    assert found["renewal"]["text"] == "tokens of another user, 8"
    assert found["ended"]["text"].startswith("the backend still renews after the sign-out")
    found = walk(tmp_path, {LOGIN: login, REFRESH: login}, **KNOWN)
    assert found["renewal"]["text"] == "a new access token and the same refresh token"
    found = walk(tmp_path, {LOGIN: login, REFRESH: pair(expires_in=60)}, **KNOWN)
    assert "names the user" in found["renewal"]["text"]
    refused = Response(status=401, json={"code": "token_not_valid"})
    found = walk(tmp_path, {LOGIN: login, REFRESH: refused}, **KNOWN)
    assert found["renewal"]["text"].startswith("the backend refuses its own refresh token")
    found = walk(tmp_path, {LOGIN: login, REFRESH: Response(status=409)}, **KNOWN)
    assert found["renewal"]["settings"] == [WRONG_REFRESH]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(status=429), "the backend asks for fewer sign-ins"),
        (Response(status=503), "status 503"),
    ],
)
def test_a_sign_in_that_the_backend_cannot_answer_proposes_nothing(
    tmp_path: Path, answer: Response, said: str
) -> None:
    more = {"backend__login__throttled": "429"}
    found = walk(tmp_path, {LOGIN: answer}, **more)["sign-in"]
    assert said in found["text"]
    assert found["settings"] == []
    with Served(other_backend({})) as served:
        url = served.url
    result = run(
        write(tmp_path, url, backend__login="\n  POST /in\n  X-User: {username}"),
        "--login",
        "alice",
    )
    assert result.exit_code == 1
    assert "< no response" in result.output


def test_a_token_that_is_not_verified_gives_the_setting(tmp_path: Path, backend: Served) -> None:
    more = {"backend__verify": f"jwks:{backend.url}/.well-known/jwks.json"}
    ini = write(tmp_path, backend.url, **more, backend__audience="x")
    assert "the token has no aud" in lines(ini, "--login", "alice")["identity"][0]
    ini = write(tmp_path, backend.url, backend__verify=f"secret:{SECRET}")
    assert lines(ini, "--login", "alice")["identity"][1] == "authapp.backend.verify = jwks:URL"
    found = walk(tmp_path, {LOGIN: pair()}, backend__verify=f"secret:{SECRET}")
    assert "not a JWT" in found["identity"]["text"]


def test_a_session_that_is_too_large_is_named(tmp_path: Path) -> None:
    login = {"access": "a" * 8000, "refresh": "b" * 8000, "user": {"id": 1}, "expires_in": 60}
    found = walk(tmp_path, {LOGIN: login}, **KNOWN)
    assert found["cookie"]["level"] == "problem"
    assert "the access token has 8000 bytes" in found["cookie"]["text"]
    assert found["sign-out"]["level"] == "ok"


def test_cookies_forms_and_addresses_are_masked(tmp_path: Path) -> None:
    login = Response(json=pair(user={"id": 7}, expires_in=60))
    login.set_cookie("session", OPAQUE)
    login.headers["WWW-Authenticate"] = f"Bearer {OPAQUE}"
    more = {
        "backend__login": "\n  POST /api/token/\n  Content-Type: application/x-www-form-urlencoded"
        "\n  X-Key: literal-key\n  username = {username}\n  password = {password}\n"
        "  client_id = web",
        "backend__logout": "\n  DELETE /out/{refresh}?token={access}",
        "backend__refresh": "none",
    }
    found = walk(tmp_path, {LOGIN: login}, **KNOWN, **more)
    (exchange,) = found["sign-in"]["exchanges"]
    assert exchange["headers"]["X-Key"] == "***"
    assert exchange["body"] == {"username": "alice", "password": "***", "client_id": "web"}
    assert "Set-Cookie: session=***" in exchange["answer_headers"]
    assert "Www-Authenticate: Bearer ***" in exchange["answer_headers"]
    assert found["sign-out"]["exchanges"][0]["request"].endswith("/out/***?token=***")
    for secret in (OPAQUE, "alice-password", "literal-key"):
        assert secret not in str(found)


def test_a_deep_answer_is_cut() -> None:
    assert mask_body('{"a":' * 20 + "1" + "}" * 20, ()) == json.loads('{"a":' * 9 + '"…"' + "}" * 9)
