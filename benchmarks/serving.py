"""Serves the page of the benchmarks with pserve. Each kind of page has its own process."""

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
    """Return an object that encrypts and decrypts sessions with the secret of these pages."""
    return Sealer([SECRET.encode()], "next-auth-4", COOKIE)


def cookie_of(session: Session) -> str:
    """Return the ``Cookie`` header that a browser with this session sends."""
    return f"{COOKIE}={sealer().seal(session)}"


def renews_by_hand(config: Configurator) -> None:
    """Add a policy that renews without authapp: each request with an expired access token calls the
    backend with the refresh token."""
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
    """A process that serves the page while a ``with`` block runs.

    :param kind: a key of :data:`KINDS`.
    :param backend: the URL of the backend.
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
        """Return the processor time that the process has used, in seconds (/proc/PID/stat)."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(10)
