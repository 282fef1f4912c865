"""Serves the page of the benchmarks with pserve, each kind of page in its own process."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.session.encryption import Sealer
from authapp.session.session import Session
from benchmarks.pyramid_pages import pyramid_page
from benchmarks.pyramid_peers import Policy, idle
from benchmarks.samples import SECRET
from servers import REFRESH
from site_under_test import COOKIE, settings

HERE = Path(__file__).parents[1]

INI = """
[app:main]
use = call:benchmarks.serving:main
benchmarks.kind = {kind}
benchmarks.page = {page}
{settings}
[server:main]
use = egg:waitress#main
listen = 127.0.0.1:0
threads = 4
backlog = 1024

[loggers]
keys = root
[handlers]
keys = stderr
[formatters]
keys =
[logger_root]
level = INFO
handlers = stderr
[handler_stderr]
class = StreamHandler
args = (sys.stderr,)
"""


def sealer() -> Sealer:
    """Return an object that encrypts sessions as these pages do."""
    return Sealer([SECRET.encode()], "next-auth-4", COOKIE)


def cookie_of(session: Session) -> str:
    """Return the ``Cookie`` header with which a browser sends a session."""
    return f"{COOKIE}={sealer().seal(session)}"


def renews_by_hand(config: Configurator) -> None:
    """A simple policy: each request with an expired access token spends the refresh token."""
    url, opener = config.registry.settings["authapp.backend.url"], sealer()

    def userid(request: Request) -> str | None:
        session = opener.open(request.cookies[COOKIE])
        if session.validity.valid_until <= time.time():
            answer = requests.post(url + REFRESH, json={"refresh": session.tokens.refresh})
            if not answer.ok:
                return None
        return str(session.identity.id)

    config.set_security_policy(Policy(userid))


KINDS = {
    "plain": lambda config: None,
    "authapp": lambda config: config.include("authapp"),
    "by hand": renews_by_hand,
    "idle": idle,
}


def main(global_config: dict[str, str], **ini: str) -> Any:
    """Create the application. ``pserve`` calls this function."""
    page = pyramid_page
    if ini["benchmarks.page"] == "starter":
        from benchmarks.starter_page import starter_page as page
    return page(KINDS[ini["benchmarks.kind"]], **ini)


class ServedPage:
    """Run a process that serves the page for the time of a ``with`` block.

    :param kind: a key of :data:`KINDS`.
    :param page: ``bare`` or ``starter``.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        backend: str = "http://localhost:9",
        page: str = "bare",
        **keys: str,
    ) -> None:
        text = "\n".join(f"{key} = {value}" for key, value in settings(backend, **keys).items())
        text = text.replace(settings("")["authapp.secret"], SECRET)
        self._ini = folder / f"{kind}-{time.monotonic_ns()}.ini"
        self._ini.write_text(INI.format(kind=kind, page=page, settings=text))

    def __enter__(self) -> "ServedPage":
        log = self._ini.with_suffix(".log")
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "pserve", self._ini],
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd=HERE,
                env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE / 'tests'}"},
            )
        while not (serving := re.search(r"Serving on (http://127\.0\.0\.1:\d+)", log.read_text())):
            assert self._process.poll() is None, log.read_text()
            time.sleep(0.02)
        self.url = serving[1] + "/page"
        return self

    def cpu_seconds(self) -> float:
        """Return the processor time of the process in seconds: fields 14 and 15 of proc(5) stat."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(10)
