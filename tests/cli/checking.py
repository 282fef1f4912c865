"""Run ``authapp check`` with an ini file, and with backends that answer as a test says."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from webob import Response

from authapp.cli.commands import PASSWORD, authapp
from servers import Served

HERE = Path(__file__).parents[2]
SECRET = "a secret for tests that is long enough, 1"
UNREACHABLE = "http://127.0.0.1:9"


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
