"""``authapp sessions``: an operator lists and ends the sessions of users of a running site."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from authapp.cli.commands import authapp
from authapp.renewal.session_index import ListedSession, SessionIndex
from servers import Served
from servers.redis_server import RedisServer
from site_under_test import SECRET, Site

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def write(folder: Path, url: str, shared: str) -> str:
    path = folder / "site.ini"
    path.write_text(
        f"[app:main]\nuse = egg:authapp\nauthapp.development = true\nauthapp.secret = {SECRET}\n"
        f"authapp.backend.url = {url}\nauthapp.shared = {shared}\n"
    )
    return str(path)


@pytest.fixture
def ini(tmp_path: Path, backend: Served, redis_server: RedisServer) -> str:
    return write(tmp_path, backend.url, redis_server.url)


@pytest.fixture
def browsers(backend: Served, redis_server: RedisServer) -> list[Site]:
    """Return three signed-in browsers: two of alice, and one of bob."""
    site = Site(backend.url, shared=redis_server.url)
    found = [site, Site(wsgi=site.app), Site(wsgi=site.app)]
    for browser, name in zip(found, ("alice", "alice", "bob"), strict=True):
        browser.extra_environ["HTTP_USER_AGENT"] = FIREFOX
        browser.sign_in(name)
        browser.get("/account")
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(authapp, ["sessions", *arguments], catch_exceptions=False)


def found(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    sessions: list[dict[str, Any]] = json.loads(result.output)["sessions"]
    return sessions


def signed_in(browsers: list[Site]) -> list[bool]:
    return [each.get("/account", status="*").status_int == 200 for each in browsers]


def test_sessions_are_listed_with_their_device(ini: str, browsers: list[Site]) -> None:
    listed = found("list", ini, "--user", "1")
    assert len(listed) == 2
    assert {each["device"] for each in listed} == {"Firefox on Linux"}
    assert {each["id"] for each in listed} == {each.opened().digest for each in browsers[:2]}
    result = run("list", ini, "--user", "2")
    assert "Firefox on Linux" in result.output
    assert result.output.endswith("\n1 session\n")


@pytest.mark.parametrize(("command", "said"), [("list", "0 sessions"), ("end", "ended 0 sessions")])
def test_a_name_in_place_of_the_id_is_not_taken_for_a_user_without_sessions(
    command: str, said: str, ini: str, browsers: list[Site]
) -> None:
    result = run(command, ini, "--user", "alice\x9b")
    assert (result.exit_code, result.stdout) == (0, f"{said}\n")
    assert "the id alice\\u009b is listed" in result.stderr
    assert "not the user name" in result.stderr
    assert found(command, ini, "--user", "alice") == []
    assert signed_in(browsers) == [True, True, True]


def test_one_session_is_ended_at_the_running_site(ini: str, browsers: list[Site]) -> None:
    one = browsers[0].opened().digest
    assert [each["id"] for each in found("end", ini, "--user", "1", "--session", one)] == [one]
    assert signed_in(browsers) == [False, True, True]


def test_all_sessions_of_a_user_are_ended(ini: str, browsers: list[Site]) -> None:
    assert "ended 2 sessions" in run("end", ini, "--user", "1").output
    assert signed_in(browsers) == [False, False, True]
    assert found("list", ini, "--user", "1") == []


def test_a_session_that_is_not_there_is_a_problem(ini: str) -> None:
    result = run("end", ini, "--user", "\x9b1", "--session", "x")
    assert result.exit_code == 1
    assert "user \\u009b1 has no session x" in result.output


@pytest.mark.parametrize("command", ["list", "end"])
def test_a_store_that_is_not_shared_or_not_there_is_a_problem(
    command: str, tmp_path: Path, backend: Served, ini: str, redis_server: RedisServer
) -> None:
    redis_server.stop()
    result = run(command, ini, "--user", "1", "--json")
    assert result.exit_code == 1
    assert "StoreDown" in json.loads(result.output)["problems"][0]
    result = run(command, write(tmp_path, backend.url, "memory:"), "--user", "1")
    assert result.exit_code == 1
    assert "authapp.shared is memory:" in result.output
    assert run(command, str(tmp_path / "none.ini"), "--user", "1").exit_code == 1


def test_what_redis_did_not_store_is_not_said_to_be_ended(
    ini: str, browsers: list[Site], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis stops just before the command ends the sessions, the command must not say that the
    sessions ended."""
    end_all = SessionIndex.end_all

    def stop_and_end(index: SessionIndex, user_id: int | str) -> list[ListedSession]:
        redis_server.stop()
        return end_all(index, user_id)

    monkeypatch.setattr(SessionIndex, "end_all", stop_and_end)
    result = run("end", ini, "--user", "1")
    assert result.exit_code == 1
    assert "StoreDown" in result.output
