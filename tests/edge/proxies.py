"""nginx and Caddy in front of the site and of an application, configured as in docs/edge.md."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import requests

from authapp.issuer import main as issuer
from authapp.session.encryption import Sealer
from authapp.session.session import Session
from eventually import eventually
from fleet import CONFIGURATION, NGINX
from served_site import ServedSite
from servers import ISSUER_SETTINGS, Served

HERE = Path(__file__).parents[2]
EDGE = HERE / "docs/edge.md"
CADDY = shutil.which("caddy")
COOKIE = "authapp.session"
SECRET = "a secret for tests of proxies that is long enough"
PUBLIC = [
    ("Cache-Control", "public, max-age=60"),
    ("CDN-Cache-Control", "max-age=60"),
    ("Cloudflare-CDN-Cache-Control", "max-age=60"),
    ("Surrogate-Control", "max-age=60"),
    ("Edge-Control", "cache-maxage=60"),
    ("X-Accel-Expires", "60"),
]
SEALER = Sealer([SECRET.encode()], "next-auth-4", COOKIE)


def block(language: str, number: int = 0) -> str:
    """Return a code block of docs/edge.md.

    :param number: 0 for the first block in this language.
    """
    return EDGE.read_text().split(f"```{language}\n")[1 + number].split("```")[0]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class SilentHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def headers_of(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that returns the request headers that it got, and sets a cookie.

    With ``?public``, it allows all caches to store the response.
    """
    status = re.findall(r"status=(\d+)", environ["QUERY_STRING"]) or ["200"]
    caching = PUBLIC if environ["QUERY_STRING"] == "public" else []
    start_response(f"{status[0]} Done", [("Set-Cookie", "app=1"), ("X-App", "here"), *caching])
    names = {name: each for name, each in environ.items() if name.startswith("HTTP_")}
    return [json.dumps(names).encode()]


class Proxied:
    """A proxy, the site, and an application that the proxy protects.

    :param program: ``nginx`` or ``caddy``.
    """

    def __init__(self, folder: Path, program: str) -> None:
        if {"nginx": NGINX, "caddy": CADDY}[program] is None:
            pytest.skip(f"{program} is not installed; see .ci/packages")
        self.program = program
        self.url = f"http://127.0.0.1:{free_port()}"
        host = self.url.removeprefix("http://")
        self.backend = Served(issuer({}, **ISSUER_SETTINGS))
        self.backend.__enter__()
        self.site = ServedSite(
            folder,
            {
                "authapp.secret": SECRET,
                "authapp.verify.hosts": host,
                "authapp.backend.url": self.backend.url,
                "authapp.backend.verify": "",
                "pyramid.reload_templates": "false",
            },
        )
        # If root starts nginx, nginx reads files as another user, who cannot read pytest's folders.
        self._files = TemporaryDirectory()
        self._srv = Path(self._files.name)
        self._srv.chmod(0o755)
        (self._srv / "docs").mkdir()
        (self._srv / "docs/page.txt").write_text("a static page")
        # wsgiref keeps headers with underscores, as many servers of other languages do.
        self._app = make_server(
            "127.0.0.1", 0, headers_of, ThreadingServer, handler_class=SilentHandler
        )
        threading.Thread(target=self._app.serve_forever, daemon=True).start()
        command = self._nginx(folder) if program == "nginx" else self._caddy(folder)
        self._log = (folder / "proxy.log").open("wb")
        environ = os.environ | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environ)
        try:
            eventually(self._answers)
        except BaseException:
            self.close()
            raise

    def _with_addresses(self, text: str) -> str:
        text = text.replace("10.0.0.1:6543", f"127.0.0.1:{self.site.port}")
        text = text.replace("10.0.0.2:8000", f"127.0.0.1:{self._app.server_port}")
        return text.replace("/srv", str(self._srv))

    def _nginx(self, folder: Path) -> list[str]:
        assert NGINX
        text = re.sub(r".*ssl_cert.*\n", "", self._with_addresses(block("nginx")))
        text = text.replace("listen 443 ssl;", f"listen {self.url.removeprefix('http://')};")
        configuration = CONFIGURATION.format(folder=folder, site=text, workers=1)
        (folder / "nginx.conf").write_text(configuration)
        (folder / "verify.conf").write_text(block("nginx", 1))
        return [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]

    def _caddy(self, folder: Path) -> list[str]:
        assert CADDY
        text = self._with_addresses(block("caddy"))
        text = text.replace("app.example.com {", f"{self.url} {{")
        options = "{\n\tadmin off\n\tauto_https off\n}\n"
        (folder / "Caddyfile").write_text(options + text)
        path = str(folder / "Caddyfile")
        return [CADDY, "run", "--config", path, "--adapter", "caddyfile"]

    def _answers(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            return requests.get(self.url + "/login", timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._log.close()
        self._app.shutdown()
        self._app.server_close()
        self.site.stop()
        self._files.cleanup()
        self.backend.__exit__()


class Browser(requests.Session):
    """A browser that sends its requests to a proxy."""

    def __init__(self, proxied: Proxied) -> None:
        super().__init__()
        self.trust_env = False
        self.url = proxied.url

    def open(self, path: str, **headers: str) -> requests.Response:
        """Open a page. Return the response, even if it is a redirect."""
        sent = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
        sent |= {"Sec-Fetch-Site": "none"}
        sent |= {name.replace("__", "-"): each for name, each in headers.items()}
        return self.get(self.url + path, headers=sent, allow_redirects=False, timeout=20)

    def sign_in(self, name: str, at: str = "/") -> requests.Response:
        """Sign in after a redirect from a page. Return the response to the sign-in form."""
        asked = self.open(at)
        assert asked.status_code == 303, asked.text
        form = self.open(asked.headers["Location"].removeprefix(self.url))
        fields = dict(re.findall(r'name="(csrf_token|next)"\s+value="([^"]*)"', form.text))
        fields = {key: each.replace("&amp;", "&") for key, each in fields.items()}
        fields |= {"username": name, "password": f"{name}-password"}
        return self.post(self.url + "/login", fields, allow_redirects=False, timeout=20)

    def token(self) -> str:
        """Return the session cookie's value. If the cookie is in chunks, join them."""
        held = {each.name: each.value or "" for each in self.cookies}
        return held.get(COOKIE) or "".join(held.get(f"{COOKIE}.{n}", "") for n in range(3))

    def session(self) -> Session:
        return SEALER.open(self.token())

    def hold(self, session: Session) -> None:
        """Give the browser another session, in several cookies (chunks) if the session is long."""
        host = "127.0.0.1"
        for name in (COOKIE, *(f"{COOKIE}.{n}" for n in range(3))):
            self.cookies.set(name, None, domain=host, path="/")
        token = SEALER.seal(session)
        parts = [token[at : at + 3900] for at in range(0, len(token), 3900)]
        names = [COOKIE] if len(parts) == 1 else [f"{COOKIE}.{n}" for n in range(len(parts))]
        for name, part in zip(names, parts, strict=True):
            self.cookies.set(name, part, domain=host, path="/")

    def expire(self, padding: int = 0) -> Session:
        """Make the access token of the browser's session expire. Return the new session.

        :param padding: the number of characters that another application has added to the cookie.
        """
        claims = self.session().to_claims()
        claims["data"]["validity"]["valid_until"] = claims["iat"] - 1
        claims["padding"] = "x" * padding
        session = Session.from_claims(claims)
        self.hold(session)
        return session


def sign_in(browser: requests.Session, url: str) -> None:
    """Sign Alice in at a served site.

    :param url: the address of the site, without a slash at the end.
    """
    form = browser.get(url + "/login", timeout=20).text
    fields = dict(re.findall(r'name="(csrf_token|next)"\s+value="([^"]*)"', form))
    fields |= {"username": "alice", "password": "alice-password"}
    browser.post(url + "/login", fields, timeout=20)
