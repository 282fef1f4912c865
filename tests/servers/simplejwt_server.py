"""Django with SimpleJWT as a process that tests start: see ``django_simplejwt.py``."""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import requests
from webob import Request, Response

from servers import REFRESH

SCRIPT = Path(__file__).parent / "django_simplejwt.py"
CONTROL = "/control/"


class Django:
    """A running Django process, as tests use it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self._http = requests.Session()
        self._http.trust_env = False

    def post(self, path: str, **fields: Any) -> requests.Response:
        return self._http.post(self.url + path, json=fields, timeout=10)

    def set(self, **orders: Any) -> None:
        """Set the lifetimes of new tokens in seconds (``access``, ``refresh``), and which users are
        ``active``."""
        self.post(CONTROL, **orders).raise_for_status()

    def move_clock(self, seconds: float) -> None:
        """Set the clock of Django ahead of the clock of the machine, by this many seconds."""
        self.set(later=seconds)

    def count(self) -> dict[str, Any]:
        """Return three counts: ``calls`` (requests by path), ``outstanding`` (refresh tokens that
        were issued), and ``blacklisted`` (refresh tokens that were spent or revoked)."""
        answer = self._http.get(self.url + CONTROL, timeout=10).json()
        return answer | {"calls": Counter(answer["calls"])}

    def refuses(self, refresh: str) -> bool:
        """Return True if Django refuses a refresh token. If Django accepts the token, it is spent
        now."""
        answer = self.post(REFRESH, refresh=refresh)
        return answer.status_code == 401 and answer.json()["code"] == "token_not_valid"

    def forward(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Pass a request on to Django. This method is a WSGI application: a :class:`Served` around
        it counts the requests."""
        request = Request(environ)
        answer = requests.request(
            request.method,
            self.url + request.path_qs,
            data=request.body,
            headers={"Content-Type": request.content_type},
            timeout=10,
        )
        response = Response(answer.content, answer.status_code)
        response.content_type = answer.headers["Content-Type"]
        return response(environ, start_response)


@contextmanager
def serve_django(folder: Path, access: int, refresh: int) -> Iterator[Django]:
    """Run Django while a ``with`` block runs.

    :param access: the lifetime of access tokens in seconds.
    :param refresh: the lifetime of refresh tokens in seconds.
    """
    key = secrets.token_urlsafe(48)
    environ = {"SIGNING_KEY": key, "ACCESS_LIFETIME": str(access), "REFRESH_LIFETIME": str(refresh)}
    command = [sys.executable, str(SCRIPT), str(folder)]
    with Popen(command, env=os.environ | environ, stdout=PIPE, text=True) as running:
        try:
            line = running.stdout.readline() if running.stdout else ""
            assert line.startswith("PORT "), "it did not start, and says why above"
            yield Django(f"http://127.0.0.1:{int(line.split()[1])}", key)
        finally:
            running.terminate()
