"""The commands ask for the password, the code of a second step, and the cookie."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from webob import Response

from authapp.cli.commands import PASSWORD, authapp
from cli.checking import HERE, KNOWN, OPAQUE, pair, run, write
from servers import LOGIN, Served


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
