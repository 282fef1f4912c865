"""What ``pserve`` prints if the site cannot start: the problems, and nothing after them."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hupper.worker
import pytest
import requests
from pyramid.exceptions import ConfigurationExecutionError

import authapp
from authapp.server import serve
from authapp.services import summary
from authapp.session.encryption import fingerprint
from authapp.settings.ini import SettingsError
from authapp.settings.settings import Settings
from authapp.start_up import CannotListen, OptionError, show_without_traceback
from eventually import eventually
from site_under_test import Site
from site_under_test import settings as ini_settings

HERE = Path(__file__).parents[2]
PSERVE = Path(sys.executable).parent / "pserve"
SECRET = "the first of the secrets that must never be shown"


def ini_file(folder: Path, changes: dict[str, str], ini: str = "production.ini") -> Path:
    """Write a copy of an ini file of this repository with other values. Return its path.

    :param changes: key -> value, which may have several lines.
    """
    text = (HERE / ini).read_text()
    for key, value in changes.items():
        text, count = re.subn(
            rf"(?m)^{re.escape(key)} =.*(\n .*)*", f"{key} = {value}", text, count=1
        )
        if not count:
            text = text.replace("#main\n", f"#main\n{key} = {value}\n", 1)
    (folder / "site.ini").write_text(text)
    return folder / "site.ini"


def pserve(ini: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run ``pserve`` until it ends. Return its exit code, and the lines of its output."""
    done = subprocess.run(
        [PSERVE, *arguments, ini],
        cwd=HERE,
        env={**os.environ, "AUTHAPP_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def test_all_problems_of_the_settings_are_the_only_output(tmp_path: Path) -> None:
    ini = ini_file(
        tmp_path,
        {
            "authapp.secret": "short",
            "authapp.backend.timeout": "soon",
            "authapp.backend.verify": f"secrets:{SECRET}",
            "authapp.bakend.url": "x",
        },
    )
    code, lines = pserve(ini)
    assert code == 1
    assert lines[0].startswith("authapp.secret: it has fewer than 32 bytes; make a good one")
    assert sorted(lines[1:]) == [
        "authapp.backend.timeout = 'soon': must be seconds from 0.05 to 60",
        "authapp.backend.verify: must be secret:…, jwks:URL or pem:PATH",
        "authapp.bakend.url is not a setting; the nearest is authapp.backend.url",
    ]


def test_a_backend_without_a_preset_needs_its_lines(tmp_path: Path) -> None:
    ini = ini_file(tmp_path, {"authapp.backend.preset": "none", "authapp.backend.logout": "none"})
    code, lines = pserve(ini)
    assert code == 1
    assert lines == [
        f"authapp.backend.{name} is missing: with authapp.backend.preset = none, set it to {what}"
        for name, what in (
            ("login", "the request that signs a user in"),
            ("login.refused", "the condition for a wrong user name or password, or none"),
            ("refresh", "the request that renews the tokens, or none"),
            ("answer.access", "JMESPath for the access token"),
        )
    ]


def test_a_problem_that_an_action_of_pyramid_finds_is_the_only_output(tmp_path: Path) -> None:
    code, lines = pserve(ini_file(tmp_path, {"authapp.backend.url": ""}))
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("authapp.backend.url is missing: set it to the base URL")


def test_an_option_of_the_server_that_is_not_allowed_is_one_line(tmp_path: Path) -> None:
    _, lines = pserve(ini_file(tmp_path, {"threads": "many"}))
    assert lines[-1].startswith("the section of the server in the ini file: invalid literal")
    assert "Traceback" not in str(lines)


def test_another_error_keeps_its_traceback(tmp_path: Path) -> None:
    code, lines = pserve(ini_file(tmp_path, {"pyramid.includes": "no_such_module"}))
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert "no_such_module" in lines[-1]


def test_a_port_in_use_is_one_line(tmp_path: Path, taken: str) -> None:
    ini = ini_file(tmp_path, {"listen": taken})
    code, lines = pserve(ini, "-q")
    assert code == 1
    assert " Starting: authapp " in lines[0]
    assert lines[1:] == [f"Address already in use: listen = {taken}"]


def test_a_port_in_use_ends_the_reloader_too(tmp_path: Path, taken: str) -> None:
    """If the port is in use, the reloader ends too. Otherwise it would wait for a changed file, and
    ``make serve`` would hang."""
    ini = ini_file(tmp_path, {"listen": taken}, "development.ini")
    code, lines = pserve(ini, "-q", "--reload")
    assert code == 1
    assert lines[1:] == [f"Address already in use: listen = {taken}"]


def test_make_serve_takes_another_port() -> None:
    command = subprocess.run(
        ["make", "-n", "serve", "PORT=8080"], cwd=HERE, check=True, capture_output=True, text=True
    )
    assert "listen=localhost:8080" in command.stdout


def test_an_address_in_the_command_has_precedence(taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = subprocess.Popen(
        [PSERVE, "-q", HERE / "development.ini", f"listen=127.0.0.1:{port}"],
        stderr=subprocess.DEVNULL,
    )
    try:

        def answers() -> bool:
            try:
                return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
            except requests.ConnectionError:
                return False

        eventually(answers, 90)
    finally:
        site.terminate()
        site.wait(10)
    with pytest.raises(CannotListen, match=f"^Address already in use: listen = {taken}$"):
        serve(lambda *_: [], {"listen": taken}, host="127.0.0.1", port="0")


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=f"in use: listen = {listen}"):
            serve(lambda *_: [], {}, listen=listen)
        host, port = listen.split(":")
        with pytest.raises(OSError, match=f"in use: host = {host} port = {port}"):
            serve(lambda *_: [], {}, host=host, port=port)


@pytest.mark.parametrize("drain", ["30s", "-5", "", "soon"])
def test_an_invalid_drain_is_refused_at_start_up(drain: str) -> None:
    with pytest.raises(ValueError, match=f"drain = '{drain}': seconds such as 30 are allowed"):
        serve(None, {}, drain=drain)  # type: ignore[arg-type]


def test_an_unknown_option_of_the_server_is_named() -> None:
    with pytest.raises(OptionError, match=r"in the ini file: .*thread"):
        serve(lambda *_: [], {}, thread="4")


def test_the_reloader_is_asked_to_end_after_the_problem_was_shown(
    taken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reloader gets SIGTERM after the problem was printed. The test process must not end, so
    the test replaces ``os._exit``."""

    class Ended(BaseException):
        pass

    class Reloader:
        def graceful_shutdown(self) -> None:
            assert capsys.readouterr().err == f"Address already in use: listen = {taken}\n"
            os.kill(os.getpid(), signal.SIGTERM)

    def end(code: int) -> None:
        assert code == 1
        raise Ended

    monkeypatch.setattr(hupper.worker, "_reloader_proxy", Reloader())
    monkeypatch.setattr(os, "_exit", end)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Ended):
            serve(lambda *_: [], {}, listen=taken)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_reloader_that_does_not_end_the_process_is_not_awaited_for_ever(
    taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reloader:
        def graceful_shutdown(self) -> None:
            pass

    monkeypatch.setattr(hupper.worker, "_reloader_proxy", Reloader())
    monkeypatch.setattr("authapp.server._RELOADER", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(CannotListen):
            serve(lambda *_: [], {}, listen=taken)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_hook_shows_problems_as_text_and_leaves_other_errors_to_the_hook_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: others.append(error))
    show_without_traceback()
    show_without_traceback()
    problem, bug = SettingsError(["one problem", "another one"]), RuntimeError("a bug")
    for error in (
        problem,
        bug,
        ConfigurationExecutionError(SettingsError, problem, ""),
        ConfigurationExecutionError(RuntimeError, bug, ""),
    ):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == "one problem\nanother one\n" * 2
    assert [str(error)[:13] for error in others] == ["a bug", "<class 'Runti"]


def test_a_start_is_one_line_that_says_with_what_and_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "authapp")
    Site("http://127.0.0.1:9", secret=f"\n{SECRET}\n{SECRET}2")
    assert caplog.messages == [
        f"Starting: authapp {authapp.__version__}, backend http://127.0.0.1:9 (preset simplejwt),"
        " store memory:, cookie authapp.session (next-auth-4),"
        f" secret {fingerprint(SECRET.encode())} and 1 that only decrypt"
    ]
    assert SECRET not in caplog.text


def test_the_line_of_a_start_names_redis_without_a_password() -> None:
    text = "redis://me:a-password@10.0.0.3:6379/1?password=another"
    settings = Settings.from_ini(ini_settings("http://x", shared=text, backend__preset="oauth2"))
    line = summary(settings, None)
    assert "(preset oauth2), store redis://10.0.0.3:6379/1, cookie" in line
    assert "password" not in line


def test_the_line_of_a_start_says_that_there_is_no_preset() -> None:
    lines = dict.fromkeys(("preset", "refresh", "logout", "login.refused"), "none")
    lines |= {"login": "POST /in\nname = {username}", "answer.access": "body.token"}
    keys = {f"backend__{name.replace('.', '__')}": text for name, text in lines.items()}
    line = summary(Settings.from_ini(ini_settings("http://x", **keys)), None)
    assert "backend http://x (no preset), store memory:" in line


def test_the_line_of_a_start_names_a_backend_of_the_application() -> None:
    class TheirBackend:
        pass

    settings = Settings.from_ini(ini_settings("http://x"))
    assert "TheirBackend, store" in summary(settings, TheirBackend())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "backend"), [("", "none"), ("http://x", "http://x (preset simplejwt)")]
)
def test_the_line_of_a_start_names_the_provider_of_openid_connect(url: str, backend: str) -> None:
    issuer = "https://id.example.com/realms/a"
    keys = {"oidc__issuer": issuer, "oidc__client_id": "web", "oidc__client_secret": "s3cret"}
    line = summary(Settings.from_ini(ini_settings(url, **keys)), None)
    assert f" backend {backend}, provider {issuer}, store memory:" in line
    assert "s3cret" not in line
