"""A real Next.js and Pyramid behind nginx, with the code and the settings of docs/nextjs.md."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
import time_machine
from joserfc import jwe

import authapp
from authapp.issuer import main as issuer
from authapp.session.encryption import FORMATS, Sealer
from authapp.session.session import Session
from eventually import eventually
from fleet import CONFIGURATION, NGINX
from nextjs.places import NAMED, one_host, two_hosts
from nextjs_side import HERE, blocks, commands, in_base64
from node_packages import NODE, install
from servers import ISSUER_SETTINGS, Served
from servers.simplejwt_server import Django

SECRET = "a $HOME of their own # and a secret that is long enough, ${NOT_A_VARIABLE}"
ACCESS, BUFFER = 300, 100
"""In seconds: the lifetime of an access token, and how long before its expiry a session is due."""

_PACKAGES = {4: "next-auth", 5: "next-auth-5"}


def build(version: int) -> Path:
    """Build the Next.js application of docs/nextjs.md, and return its folder.

    If the folder has a build of the same code already, for example by another worker, use this
    build.
    """
    node = install(HERE)
    files = blocks(version)
    del files[".env"]  # the build must not need the environment
    lock = (HERE / "package-lock.json").read_text()
    mark = hashlib.sha256(
        repr((sorted(files.items()), commands(version), lock)).encode()
    ).hexdigest()
    applications = HERE / "build"
    applications.mkdir(exist_ok=True)
    folder = applications / f"{version}"
    with (applications / f"{version}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if (folder / ".complete").exists() and (folder / ".complete").read_text() == mark:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for command in commands(version):
            if not command.startswith("npm install"):  # the packages are those of the lock file
                subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True)
        for path, code in files.items():
            (folder / path).write_text(code)
        # Only for this test: the packages are in a folder above.
        (folder / "next.config.mjs").write_text(
            f'export default {{ turbopack: {{ root: "{HERE}" }} }};'
        )
        (folder / "node_modules").mkdir()
        (folder / "node_modules/next-auth").symlink_to(
            f"../../../node_modules/{_PACKAGES[version]}"
        )
        done = subprocess.run(
            [node, HERE / "node_modules/next/dist/bin/next", "build"],
            cwd=folder,
            env=_environ(),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "arning" not in done.stdout + done.stderr, done.stdout + done.stderr
        (folder / ".env").write_text(f'SESSION_SECRETS="{in_base64(SECRET)}"\n')
        (folder / ".complete").write_text(mark)
    return folder


def _environ(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "NEXT_TELEMETRY_DISABLED": "1", **more}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Both:
    """Next.js and Pyramid behind nginx, with the embedded issuer as their backend.

    :param version: 5 for Auth.js 5, 4 for next-auth 4.
    :param folder: the folder for files of this test.
    :param renews: ``1`` if only Pyramid renews sessions, an empty string if both applications do.
    :param hosts: 1 for one host, 2 for two hosts of one domain with TLS.
    :ivar url: the URL of Next.js.
    :ivar pyramid_url: the URL of Pyramid. On one host it is the same as ``url``.
    """

    def __init__(self, version: int, folder: Path, renews: str = "1", hosts: int = 1) -> None:
        if NGINX is None:
            pytest.skip("nginx is not installed; see .ci/packages")
        self.version = version
        application = build(version)
        self._port, self._next_port = _free_port(), _free_port()
        self.backend = Served(issuer({}, **ISSUER_SETTINGS | {"issuer.access_lifetime": "300"}))
        self.backend.__enter__()
        where = (version, self._port, self.backend.url, SECRET)
        place = one_host(*where) if hosts == 1 else two_hosts(*where, folder)
        self.url, self.pyramid_url, self.name = place.url, place.pyramid, place.name
        self.sealer = Sealer([SECRET.encode()], NAMED[version], self.name)
        self.pyramid = Served(authapp.main({}, **place.ini), **place.server)
        self.pyramid.__enter__()
        self._clocks: list[Callable[[float], object]] = [self._set_clock]
        self._clock = folder / "clock"
        self._clock.write_text("0")
        self._log = (folder / "next.log").open("wb")
        self._next = subprocess.Popen(
            [
                str(NODE),
                HERE / "node_modules/next/dist/bin/next",
                "start",
                "-H",
                "127.0.0.1",
                "-p",
                str(self._next_port),
            ],
            cwd=application,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=_environ(
                NODE_OPTIONS=f"--require {HERE / 'clock.cjs'}",
                CLOCK=str(self._clock),
                BACKEND_URL=self.backend.url,
                PYRAMID_RENEWS=renews,
                **{
                    "SESSION_COOKIE": self.name,
                    "AUTH_URL": self.url,
                    "NEXTAUTH_URL": self.url,
                    **place.environ,
                },
            ),
        )
        site = place.nginx.replace("127.0.0.1:3000", f"127.0.0.1:{self._next_port}")
        site = site.replace("127.0.0.1:6543", self.pyramid.url.removeprefix("http://"))
        self._files = TemporaryDirectory()  # nginx writes there as another user
        Path(self._files.name).chmod(0o777)
        configuration = Path(self._files.name) / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=self._files.name, site=site, workers=1)
        )
        self._nginx = subprocess.Popen([NGINX, "-p", self._files.name, "-c", str(configuration)])
        try:
            eventually(self._answers, 60)
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        assert self._next.poll() is None, self.log
        try:
            socket.create_connection(("127.0.0.1", self._port), 5).close()
            return requests.get(f"http://127.0.0.1:{self._next_port}/", timeout=30).ok
        except OSError:  # includes requests.ConnectionError
            return False

    @property
    def log(self) -> str:
        """Return everything that Next.js has printed."""
        return Path(self._log.name).read_text()

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """Set the clocks of Next.js, Pyramid and the backend ahead while a ``with`` block runs."""
        self._move(seconds)
        with time_machine.travel(time.time() + seconds):
            yield
        self._move(0)

    def _move(self, seconds: float) -> None:
        for clock in self._clocks:
            clock(seconds)

    def _set_clock(self, seconds: float) -> None:
        self._clock.write_text(str(seconds))
        time.sleep(0.006)  # clock.cjs reads the file every 5 ms

    @contextmanager
    def with_django(self, django: Django) -> Iterator[None]:
        """Use Django with SimpleJWT as the backend, instead of the issuer, while a ``with`` block
        runs."""
        own, self.backend.application = self.backend.application, django.forward
        self._clocks.append(django.move_clock)
        yield
        self._clocks.remove(django.move_clock)
        self.backend.application = own

    def seal(self, claims: dict[str, Any]) -> str:
        """Return a session cookie with any claims, even claims that authapp would not write."""
        form = FORMATS[NAMED[self.version]]
        key = form.key(SECRET.encode(), self.name)
        text, algorithms = json.dumps(claims), ["dir", form.encryption]
        return jwe.encrypt_compact(form.header(key), text, key, algorithms=algorithms)

    def close(self) -> None:
        os.killpg(self._next.pid, signal.SIGTERM)
        self._next.wait(10)
        self._nginx.send_signal(signal.SIGTERM)
        self._nginx.wait(10)
        self._log.close()
        self.pyramid.__exit__()
        self.backend.__exit__()
        self._files.cleanup()


class Browser:
    """A browser with cookies. The test decides in which order the browser gets the responses."""

    def __init__(self, both: Both) -> None:
        self.both = both
        self.cookies: dict[str, str] = {}

    def send(self, path: str, fields: dict[str, str] | None = None) -> requests.Response:
        """Send a request with the browser's cookies. The cookies of the response are not stored."""
        return requests.request(
            "POST" if fields else "GET",
            self.both.url + path,
            data=fields,
            allow_redirects=False,
            timeout=30,
            headers={
                "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
                "Accept": "text/html,*/*;q=0.8",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Site": "same-origin",
            },
        )

    def take(self, *responses: requests.Response) -> None:
        """Store the cookies of some responses in the browser, in this order."""
        for response in responses:
            for line in response.raw.headers.getlist("Set-Cookie"):
                name, _, rest = line.partition("=")
                value = rest.partition(";")[0]
                if not value or "Max-Age=0" in line or "01 Jan 1970" in line:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value

    def open(self, path: str, fields: dict[str, str] | None = None) -> requests.Response:
        response = self.send(path, fields)
        self.take(response)
        return response

    def at_once(self, *paths: str) -> list[requests.Response]:
        """Send requests to some paths at the same moment. Return the responses."""
        start = threading.Barrier(len(paths))

        def send(path: str) -> requests.Response:
            start.wait(10)
            return self.send(path)

        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(send, paths))

    def sign_in_at_next(self, name: str = "alice", password: str = "") -> requests.Response:
        token = self.open("/api/auth/csrf").json()["csrfToken"]
        fields = {"csrfToken": token, "username": name, "password": password or f"{name}-password"}
        return self.open("/api/auth/callback/credentials", fields)

    def token(self) -> str:
        """Return the session cookie's value. If the cookie is in chunks, join them."""
        name = self.both.name
        chunks = (self.cookies.get(f"{name}.{number}", "") for number in range(3))
        return self.cookies.get(name) or "".join(chunks)

    def claims(self) -> dict[str, Any]:
        return self.both.sealer.open(self.token()).to_claims()

    def hold(self, claims: dict[str, Any]) -> None:
        """Give the browser a session with these claims, in several cookies if it is long."""
        self.cookies = {
            name: value
            for name, value in self.cookies.items()
            if not name.startswith(self.both.name)
        }
        token = self.both.sealer.seal(Session.from_claims(claims))
        parts = [token[at : at + 3900] for at in range(0, len(token), 3900)]
        for number, part in enumerate(parts):
            self.cookies[self.both.name + (f".{number}" if len(parts) > 1 else "")] = part
