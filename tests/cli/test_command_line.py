"""The command ``authapp`` itself: how it starts, its help, its colours, and ``authapp secret``."""

import json
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from authapp.cli import main
from authapp.cli.commands import authapp
from authapp.session.encryption import fingerprint
from authapp.version import __version__
from cli.checking import HERE, UNREACHABLE, run, write


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
