"""A site and all its output, in which no secret may be: threat L1.

Each test uses unique secrets, and collects all output that somebody could read: log lines with
tracebacks, pages, headers, events, reprs, and the content of Redis. An output must not contain a
part of a secret, with two exceptions:

- the cookie that carries the secret;
- the field with the CSRF token.
"""

import logging
import re
import secrets
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.request import Request
from webob import Request as Call

import authapp
from authapp.issuer import main as issuer
from authapp.web.events import SessionEvent, SignInFailed
from servers import ISSUER_SETTINGS, Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site, add_view, application

PART = 9
"""If an output contains this many characters of a secret in a row, this is a leak."""

DUE, EXPIRED, ENDED = 601, 901, 604_801
PAGE, DATA = {"Accept": "text/html"}, {"Accept": "application/json"}

_QUOTE = '(?:"|&#34;)'  # In a page the JSON is in an attribute.
_CSRF = re.compile(f"""(name="csrf_token" value="|{_QUOTE}csrf_token{_QUOTE}: {_QUOTE})([^"&]+)""")
_THEIRS = tuple(f"/site-packages/{each}/" for each in ("requests", "urllib3", "redis", "joserfc"))
_OURS = str(Path(authapp.__file__).parent)


def parts(text: str) -> set[str]:
    """Return all parts of a text that are ``PART`` characters long."""
    return {text[at : at + PART] for at in range(len(text) - PART + 1)}


def values(answer: Any) -> list[str]:
    """Return the values of all cookies that a response sets."""
    return [each.partition("=")[2].split(";")[0] for each in answer.headers.getall("Set-Cookie")]


def locals_of(error: BaseException | None) -> Iterator[str]:
    """Yield an exception and its causes as error trackers show them, with local variables.

    Only frames of authapp and of the libraries in ``_THEIRS`` are included. Frames of Pyramid and
    of the server have the request with its cookies, which error trackers hide.
    """
    while error is not None:
        yield repr(error)
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        for frame in told.stack:
            if frame.filename.startswith(_OURS) or any(each in frame.filename for each in _THEIRS):
                yield f"{frame.filename}:{frame.lineno} {frame.name} {frame.locals}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class Walk:
    """A site, its secrets, and all output that a test has collected.

    :ivar view: the view at ``/view`` of the application. Tests replace it.
    """

    def __init__(self, caplog: pytest.LogCaptureFixture, redis_url: str) -> None:
        self._caplog = caplog
        self._redis_url = redis_url
        caplog.set_level(logging.DEBUG)
        self.secrets: dict[str, str] = {}
        self.told: list[tuple[str, str]] = []
        self.view: Callable[[Request], Any] = lambda request: {}
        self.deaf = True
        self.password = self.keep("the password", secrets.token_hex(16))

    def keep(self, name: str, secret: str) -> str:
        """Register a secret that no output may contain, and return the secret."""
        self.secrets[secret] = name
        return secret

    def tell(self, where: str, what: object) -> None:
        """Collect an output. At the end of the test, it is searched for secrets."""
        self.told.append((where, what if isinstance(what, str) else repr(what)))

    def backend(self, application: Any) -> Callable[..., Any]:
        """Return a backend that registers the tokens in its responses as secrets."""

        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            answer = Call(environ).get_response(application)
            if answer.content_type == "application/json":
                for name, value in answer.json.items():
                    if isinstance(value, str) and ("access" in name or "refresh" in name):
                        self.keep(f"the {name} token", value.partition(".")[2] or value)
            return answer(environ, start_response)

        return answer

    def issuer(self) -> Callable[..., Any]:
        users = f"alice {self.password} alice@example.com admin"
        return self.backend(issuer({}, **(ISSUER_SETTINGS | {"issuer.users": users})))

    def site(self, url: str, **keys: str) -> Site:
        def more(config: Configurator) -> None:
            config.include("authapp.web.views.pages")
            config.include("authapp.web.views.errors")
            config.add_subscriber(self.hear, SessionEvent)
            config.add_subscriber(self.hear, SignInFailed)
            add_view(config, lambda request: self.view(request), require_csrf=False)

        secret = self.keep("the secret", secrets.token_urlsafe(48))
        self.browser = application(url, more, secret=secret, shared=self._redis_url, **keys)
        self.tell("the parts", self.browser.services)
        self.tell("the parts", vars(self.browser.services))
        return self.browser

    def hear(self, event: Any) -> None:
        self.tell("an event", event)
        self.tell("an event", vars(event))

    def get(self, path: str, **options: Any) -> Any:
        return self.send(path, method="GET", **options)

    def post(self, path: str, fields: dict[str, str] | None = None, **options: Any) -> Any:
        return self.send(path, method="POST", POST=fields or {}, **options)

    def send(self, path: str, status: int | None = 200, **options: Any) -> Any:
        """Send a request. Collect its response as output, and register the new secrets in it.

        :param status: the status that the response must have, or None for any status.
        """
        answer = self.browser.request(path, expect_errors=True, **options)
        assert status in (None, answer.status_int)
        for value in values(answer):
            self.keep("a cookie", value.partition(".")[2] or value)
        for _, token in _CSRF.findall(answer.text):
            self.keep("a CSRF token", token)
        if COOKIE in self.browser.cookies:
            self.keep("the session's id", self.browser.opened().sid)
        self.tell(path, _CSRF.sub("", answer.text))
        self.tell(path, "\n".join(f"{k}: {v}" for k, v in answer.headerlist if k != "Set-Cookie"))
        return answer

    def sign_in(self, status: int = 303, **changes: str) -> None:
        csrf = self.get("/login").form["csrf_token"].value
        fields = {"username": "alice", "password": self.password, "csrf_token": csrf} | changes
        self.post("/login", fields, status=status)

    def csrf(self) -> str:
        token: str = self.get("/session").json["csrf_token"]
        return token

    def check(self, redis: RedisServer) -> None:
        """Check that no output contains a part of a secret."""
        for record in self._caplog.get_records("call"):
            self.tell(f"log {record.name}", self._caplog.handler.format(record))
            for text in locals_of(record.exc_info and record.exc_info[1]):
                self.tell("an error tracker", text)
        for key in redis.client.scan_iter():
            self.tell("Redis", key.decode("latin-1"))
            # GET raises an error for a sorted set, so ZRANGE reads it. If the key has expired
            # meanwhile, both commands return nothing.
            sorted_set = redis.client.type(key) == b"zset"
            texts = redis.client.zrange(key, 0, -1) if sorted_set else [redis.client.get(key)]
            for text in texts:
                self.tell("Redis", (text or b"").decode("latin-1"))
        secret_parts = {part: name for text, name in self.secrets.items() for part in parts(text)}
        assert len(self.told) > 3
        leaks = [
            (name, where, text)
            for where, text in self.told
            for name in {secret_parts[part] for part in parts(text) & secret_parts.keys()}
        ]
        assert leaks == []


@pytest.fixture
def walk(caplog: pytest.LogCaptureFixture, redis_server: RedisServer) -> Iterator[Walk]:
    walk = Walk(caplog, redis_server.url)
    yield walk
    walk.check(redis_server)


@pytest.fixture
def backend(walk: Walk) -> Iterator[Served]:
    with Served(walk.issuer()) as served:
        walk.site(served.url)
        yield served


def later(seconds: float) -> Any:
    return time_machine.travel(time.time() + seconds)
