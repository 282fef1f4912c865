"""``authapp check`` checks the settings. With ``--online`` it also checks the servers they name."""

import json
import os
import pty
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import plaster
import pytest
import requests
from click.testing import CliRunner, Result
from pyramid.exceptions import ConfigurationExecutionError
from webob import Response

from authapp.cli import main
from authapp.cli.commands import PASSWORD, authapp
from authapp.cli.masking import mask_body
from authapp.session.encryption import fingerprint
from authapp.version import __version__
from servers import BLACKLIST, LOGIN, REFRESH, Served
from servers.oidc import Provider
from servers.redis_server import RedisServer

HERE = Path(__file__).parents[2]
SECRET = "a secret for tests that is long enough, 1"
UNREACHABLE = "http://127.0.0.1:9"
IF_WRONG = "# if the password is wrong; otherwise see authapp.backend.login:"


def write(folder: Path, url: str | None, app: str = "egg:authapp", **more: str) -> str:
    keys = {"development": "true", "secret": SECRET} | ({"backend.url": url} if url else {})
    keys |= {key.replace("__", "."): text for key, text in more.items()}
    lines = [f"authapp.{name} = {text}" for name, text in keys.items()]
    path = folder / "site.ini"
    path.write_text("\n".join(["[app:main]", f"use = {app}", *lines]))
    return str(path)


def run(*arguments: str, password: str | None = "alice-password") -> Result:
    return CliRunner().invoke(
        authapp, ["check", *arguments], env={PASSWORD: password or ""}, catch_exceptions=False
    )


def findings(*arguments: str, code: int = 0, **options: Any) -> list[tuple[str, str, str]]:
    result = run(*arguments, "--json", **options)
    assert result.exit_code == code, result.output
    report = json.loads(result.output)
    assert report["ok"] is (code == 0)
    return [(each["about"], each["level"], each["text"]) for each in report["findings"]]


def lines(*arguments: str, **options: Any) -> dict[str, list[str]]:
    """Run ``authapp check``, and assert that it reports a problem.

    :returns: the subject of a finding, such as ``identity`` -> the settings that the command
        proposes. Findings without a proposal are left out.
    """
    result = run(*arguments, "--json", **options)
    assert result.exit_code == 1, result.output
    return {
        each["about"]: each["settings"]
        for each in json.loads(result.output)["findings"]
        if each["settings"]
    }


def test_good_settings_give_fingerprints_and_exit_code_0(tmp_path: Path) -> None:
    result = run(write(tmp_path, UNREACHABLE, secret=f"\n  {SECRET}\n  {SECRET}2"))
    assert result.exit_code == 0
    assert f"{fingerprint(SECRET.encode())} encrypts and decrypts cookies" in result.output
    assert f"{fingerprint(SECRET.encode() + b'2')} decrypts cookies" in result.output
    assert SECRET not in result.output
    assert "no problem" in result.output
    assert "\x1b" not in result.output


def test_each_problem_of_the_settings_is_a_line(tmp_path: Path) -> None:
    found = findings(write(tmp_path, None, refresh__buffer="soon", bogus="1"), code=1)
    assert [level for _, level, _ in found] == ["problem"] * 3
    assert found[0][2].startswith("authapp.refresh.buffer = 'soon': must be whole seconds")


def test_a_site_needs_a_backend_and_another_application_may_bring_one(tmp_path: Path) -> None:
    ((_, level, text),) = findings(write(tmp_path, None), code=1)
    assert (level, text[:30]) == ("problem", "authapp.backend.url is missing")
    theirs = write(tmp_path, None, "call:pyramid.config:Configurator", oidc__issuer="https://x")
    assert "oidc" in findings(theirs, code=1)[0][2]
    theirs = write(tmp_path, None, "call:pyramid.config:Configurator")
    found = findings(theirs, "--login", "alice")
    assert ("backend", "note") in [each[:2] for each in found]


def test_an_error_that_is_not_of_the_settings_is_not_hidden(
    tmp_path: Path,
) -> None:
    ini = Path(write(tmp_path, UNREACHABLE))
    ini.write_text(ini.read_text() + "\npyramid.default_locale_name = en\njinja2.filters = x = y.z")
    with pytest.raises(ConfigurationExecutionError):
        run(str(ini))


def test_the_file_is_read_as_pserve_reads_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "base.ini").write_text(
        "[DEFAULT]\nname = x\n[app:main]\nuse = egg:authapp\n"
        "authapp.secret = file:%(here)s/secret\nauthapp.backend.url = https://%(name)s.example\n"
        "[filter:gzip]\nuse = egg:authapp\n"
    )
    ini = tmp_path / "site.ini"
    ini.write_text(
        "[pipeline:main]\npipeline = inner\n[app:inner]\nuse = config:base.ini\n"
        "authapp.backend.timeout = 3\n[app:other]\nuse = egg:authapp\n"
        "authapp.backend.timeout = %(seconds)s\n"
    )
    for spec in (str(ini), f"{ini}#inner"):
        found = findings(spec)
        assert fingerprint(SECRET.encode()) in str(found)
    assert "timeout in [app:other]" in findings(f"{ini}#other", code=1)[0][2]
    assert "timeout = 'x'" in str(findings(f"{ini}#other", "seconds=x", code=1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No section 'main'"),
        ("x = y", "not an ini file; see line 1"),
        ("[app:main]\nuse = egg:authapp\nx\n", "see line 3"),
        ("[app:main]\nuse = egg:authapp\nauthapp.secret = 5%x\n", "authapp.secret in [app:main]"),
        ("[app:main]\nuse = egg:no-such-package\nauthapp.secret = x\n", "no-such-package"),
        ("[app:main]\nuse = call:no_such:main\nauthapp.secret = x\n", "or set PYTHONPATH to"),
        ("[app:main]\nuse = egg:authapp#none\nauthapp.secret = x\n", "none"),
        ("[app:main]\nuse = egg:authapp\n", "no setting of authapp"),
        ("[app:main]\n[app:main]\n", "already exists"),
        (b"[app:main]\nx = \xff", "decode"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: Any, said: str) -> None:
    ini = tmp_path / "site.ini"
    ini.write_bytes(text if isinstance(text, bytes) else text.encode())
    ((about, level, line),) = findings(str(ini), code=1)
    assert (about, level) == ("settings", "problem")
    assert said in line
    assert "5%x" not in line


def test_a_missing_file_and_another_kind_of_file_are_named(tmp_path: Path) -> None:
    assert "No such file" in findings(str(tmp_path / "x.ini"), code=1)[0][2]
    assert "loader" in findings(str(tmp_path / "x.xyz"), code=1)[0][2]


def test_a_variable_without_a_value_is_wrong_use(tmp_path: Path) -> None:
    result = run(write(tmp_path, UNREACHABLE), "x")
    assert result.exit_code == 2
    assert "x is not NAME=VALUE" in result.output


def test_online_calls_backend_key_set_and_redis(
    tmp_path: Path, backend: Served, redis_server: RedisServer
) -> None:
    jwks = f"jwks:{backend.url}/.well-known/jwks.json"
    ini = write(tmp_path, backend.url, backend__verify=jwks, shared=redis_server.url)
    found = {about: (level, text) for about, level, text in findings(ini, "--online")}
    assert found["backend"][1].startswith(f"{backend.url[7:]}/ answers in ")
    assert found["backend"][1].endswith(" ms (status 404)")
    assert found["key set"][1].startswith("1 public key at 127.0.0.1")
    assert found["store"] == ("ok", "Redis answers, and has granted a lease")
    redis_server.stop()
    backend.instead["/"] = Response(status=503)
    backend.instead["/.well-known/jwks.json"] = Response(json={"keys": [{"kty": "oct"}, 1]})
    found = {about: (level, text) for about, level, text in findings(ini, "--online", code=1)}
    assert [found[each][0] for each in ("backend", "key set", "store")] == ["problem"] * 3
    assert found["key set"][1].startswith("0 public keys at")
    assert "StoreDown: " in found["store"][1]
    assert "see authapp.shared" in found["store"][1]


def test_online_counts_the_keys_that_a_site_would_use(tmp_path: Path, backend: Served) -> None:
    """``authapp check --online`` counts only keys that can verify tokens. A key for encryption, a
    private key and an invalid key are not counted."""
    jwks = f"{backend.url}/.well-known/jwks.json"
    (good,) = requests.get(jwks, timeout=5).json()["keys"]
    others = [good | {"use": "enc"}, good | {"d": "x"}, good | {"x": "short"}]
    ini = write(tmp_path, backend.url, backend__verify=f"jwks:{jwks}")
    for keys, level, text in (([good, *others], "ok", "1 "), (others, "problem", "0 ")):
        backend.instead["/.well-known/jwks.json"] = Response(json={"keys": keys})
        found = findings(ini, "--online", code=int(level == "problem"))
        ((told, line),) = [(each, text) for about, each, text in found if about == "key set"]
        assert told == level
        assert line.startswith(f"{text}public key")
        assert line.endswith("; KeySetUnavailable: an invalid key: InvalidKeyError")


def test_online_names_the_setting_of_what_cannot_be_reached(tmp_path: Path) -> None:
    ini = write(tmp_path, UNREACHABLE, backend__verify=f"jwks:{UNREACHABLE}/keys")
    found = findings(ini, "--online", code=1)
    assert "see authapp.backend.url" in str(found)
    assert "see authapp.backend.verify" in str(found)
    assert run(ini).exit_code == 0


@pytest.mark.servers
def test_the_command_without_click_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('x', name='click')")
    command = [sys.executable, "-m", "authapp", "secret"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "authapp: the command line needs click; install it with: pip install 'authapp[cli]'\n"
    )


@pytest.mark.servers
def test_both_commands_make_secrets_that_are_allowed(tmp_path: Path) -> None:
    made = []
    for command in (["-m", "authapp"], [str(Path(sys.executable).parent / "authapp")]):
        done = subprocess.run(
            [sys.executable, *command, "secret"], cwd=HERE, capture_output=True, text=True
        )
        assert done.stderr == ""
        made.append(done.stdout.strip())
        assert run(write(tmp_path, UNREACHABLE, secret=made[-1])).exit_code == 0
    assert len(set(made)) == 2
    assert len(CliRunner().invoke(authapp, ["secret"]).output) == 65
    shown = json.loads(CliRunner().invoke(authapp, ["secret", "--json"]).output)
    assert shown["fingerprint"] == fingerprint(shown["secret"].encode())


@pytest.mark.parametrize("command", [[], ["secret"], ["check"], ["inspect"]])
def test_help_shows_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(authapp, [*command, "--help"])
    assert result.exit_code == 0
    assert "  authapp " + " ".join(command) in result.output


def test_no_color_is_respected(tmp_path: Path) -> None:
    runner, ini = CliRunner(), write(tmp_path, UNREACHABLE)
    coloured = runner.invoke(authapp, ["check", ini], color=True, env={"NO_COLOR": ""})
    plain = runner.invoke(authapp, ["check", ini], color=True, env={"NO_COLOR": "1"})
    assert "\x1b[" in coloured.output
    assert "\x1b[" not in plain.output


def test_without_a_password_nobody_is_signed_in(tmp_path: Path, backend: Served) -> None:
    result = run(write(tmp_path, backend.url), "--login", "alice", password=None)
    assert result.exit_code == 1
    assert f"There is no password: set {PASSWORD}" in result.output
    assert not backend.calls


def test_the_password_is_read_from_standard_input(tmp_path: Path, backend: Served) -> None:
    ini = write(tmp_path, backend.url)
    runner = CliRunner(env={PASSWORD: ""})
    result = runner.invoke(authapp, ["check", ini, "--login", "bob"], input="bob-password\n")
    assert result.exit_code == 0, result.output
    assert "bob@example.com" in result.output


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


WRONG_REFRESH = "# authapp.backend.refresh: its method, path, headers or fields are wrong"
OPAQUE = "opaque0token1opaque2"


def other_backend(answers: dict[str, Any]) -> Any:
    """Return a backend that has one response for each path.

    :param answers: path -> a response, or the JSON of a response with status 200.
    """

    def application(environ: Any, start_response: Any) -> Any:
        answer = answers.get(environ["PATH_INFO"], {})
        reply = answer if isinstance(answer, Response) else Response(json=answer)
        return reply(environ, start_response)

    return application


def walk(folder: Path, answers: dict[str, Any], **more: str) -> Any:
    """Run ``authapp check --login`` with another backend. Return its findings by their subject,
    such as ``identity``."""
    with Served(other_backend(answers)) as served:
        result = run(write(folder, served.url, **more), "--login", "alice", "--json")
    return {each["about"]: each for each in json.loads(result.output)["findings"]}


def pair(**more: Any) -> dict[str, Any]:
    return {"access": OPAQUE, "refresh": f"{OPAQUE}2", **more}


KNOWN = {"backend__answer__user": "body.user", "backend__answer__expires_in": "body.expires_in"}


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


def test_a_loader_of_another_format_is_asked_for_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``authapp check`` can read an ini file in another format, such as YAML, if a package has
    registered a loader for plaster."""

    class Loader:
        def get_wsgi_app_settings(self, name: str | None, defaults: Any) -> dict[str, str]:
            return {"authapp.secret": SECRET, "authapp.backend.url": defaults["url"]}

    monkeypatch.setattr(plaster, "get_loader", lambda uri, protocols: Loader())
    assert findings("site.yaml", "url=https://x.example")[0][1] == "ok"
    assert "'x': must be" in findings("site.yaml", "url=x", code=1)[0][2]


def test_the_console_script_runs_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["authapp", "--version"])
    file = import_module("authapp.__main__").__file__  # runs nothing
    assert file
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(file, run_name="__main__")
    assert capsys.readouterr().out == f"authapp {__version__}\n"


@pytest.mark.parametrize("missing", ["click", "requests"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("authapp.cli."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises((SystemExit, ModuleNotFoundError), match=missing) as caught:
        main()
    assert (caught.type is SystemExit) is (missing == "click")


def at_a_terminal(command: list[str], answer: str) -> str:
    """Run ``authapp`` at a terminal, and type ``answer`` when it asks. Return what the terminal
    shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "authapp", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=HERE,
        env={**os.environ, PASSWORD: "", "TERM": "xterm", "NO_COLOR": ""},
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            output += os.read(ours, 65_536)
        except OSError:  # the command has ended
            break
        if answer and (b"Password: " in output or b"Ctrl-D" in output):
            os.write(ours, answer.encode())
            answer = ""
    os.close(ours)
    assert process.wait(30) is not None
    return output.decode()


@pytest.mark.servers
def test_at_a_terminal_the_password_is_asked_for_and_not_shown(
    tmp_path: Path, backend: Served
) -> None:
    ini = write(tmp_path, backend.url)
    output = at_a_terminal(["check", ini, "--login", "alice"], "alice-password\n")
    assert "\x1b[32m" in output
    assert "alice@example.com" in output
    assert "alice-password" not in output
    output = at_a_terminal(["inspect", ini], "a=b\n\x04")
    assert "there is no cookie authapp.session" in output


def test_in_this_process_a_terminal_is_asked_too(
    tmp_path: Path, backend: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test the questions at a terminal again, without a separate process, so that coverage is
    measured."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    runner, ini = CliRunner(env={PASSWORD: ""}), write(tmp_path, backend.url)
    result = runner.invoke(authapp, ["check", ini, "--login", "bob"], input="bob-password\n")
    assert result.exit_code == 0, result.output
    assert "Password: " in result.output
    result = runner.invoke(authapp, ["inspect", ini], input="a=b")
    assert "Paste the cookie, then press Ctrl-D." in result.output


STATE = "state0of1a2second3step"


def two_steps(environ: Any, start_response: Any) -> Any:
    """A backend that asks for a code as the second step, and accepts 123456."""
    code = json.loads(environ["wsgi.input"].read(4096) or b"{}").get("code")
    answers = {
        LOGIN: Response(status=401, json={"mfa": STATE}),
        "/mfa": Response(json=pair(user={"id": 7}, expires_in=60))
        if code == "123456"
        else Response(status=400, json={"code": "wrong_code"}),
    }
    return answers.get(environ["PATH_INFO"], Response(json={}))(environ, start_response)


@pytest.mark.parametrize(
    ("code", "level", "said"),
    [
        ("123456", "ok", "the backend has issued tokens"),
        ("", "note", "there is no code"),
        ("999999", "problem", "challenge: status 400"),
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_the_code_of_a_second_step_is_asked_for(
    tmp_path: Path,
    code: str,
    level: str,
    said: str,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = KNOWN | {
        "backend__login__challenge": "body.mfa",
        "backend__challenge": "\n  POST /mfa\n  code = {code}\n  state = {state}",
        "backend__challenge__state": "body.mfa",
        "backend__refresh": "none",
        "backend__logout": "none",
    }
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: terminal)
    with Served(two_steps) as served:
        ini = write(tmp_path, served.url, **more)
        result = CliRunner(env={PASSWORD: "x-password"}).invoke(
            authapp, ["check", ini, "--login", "alice", "--json"], input=code + "\n"
        )
    assert result.exit_code == (level == "problem")
    found = {each["about"]: each for each in json.loads(result.stdout)["findings"]}
    assert found["sign-in"]["text"] == "the backend asks for a second step: code"
    assert found["code"]["level"] == level
    assert said in found["code"]["text"]
    for secret in filter(None, (STATE, code, OPAQUE)):
        assert secret not in result.stdout


def test_a_provider_is_asked_for_its_metadata(tmp_path: Path) -> None:
    provider = Provider()
    with Served(provider) as served:
        provider.url = served.url
        more = {"oidc__issuer": served.url, "oidc__client_id": "site"}
        path = write(tmp_path, None, **more)
        found = {about: (level, text) for about, level, text in findings(path, "--online")}
        assert found["provider"] == ("ok", f"{served.url} allows a sign-in")
        assert "backend" not in found
        provider.metadata = {"code_challenge_methods_supported": ["plain"]}
        ((level, text),) = [
            (level, text)
            for about, level, text in findings(path, "--online", code=1)
            if about == "provider"
        ]
        assert level == "problem"
        assert "does not support PKCE with S256" in text
