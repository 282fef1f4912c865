"""No output contains a secret, even if something fails: threat L1.

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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from webob import Request as Call
from webob import Response as Answer

import authapp
from authapp.backend.protocol import Credentials
from authapp.issuer import main as issuer
from authapp.services import IServices
from authapp.web.events import SessionEvent, SignInFailed
from servers import BLACKLIST, ISSUER_SETTINGS, LOGIN, NOT_VALID, REFRESH, Served
from servers.oauth2 import CLIENT_ID, OAuth2
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site, add_view, application, settings

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


def test_pages_and_reprs_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If nothing fails, the pages contain no secret. No object's repr contains one."""

    def view(request: Request) -> dict[str, Any]:
        session, state = request.authapp.session, request.authapp
        services = request.registry.getUtility(IServices)
        outcome = services.renewal.renew(session, wait=True)
        carried = services.cookie_reader.read(request.environ["HTTP_COOKIE"])
        things = [request, request.identity, request.validity, request.backend, state]
        things += [session, session.tokens, outcome, carried, vars(state)]
        for thing in things:
            walk.tell("a repr", thing)
        return {}

    walk.view = view
    for path in ("/", "/login?reason=SignedOut", "/logout", "/session", "/health?deep=1"):
        walk.get(path)
    walk.sign_in()
    walk.tell("a repr", Credentials("alice", walk.password))
    for path in ("/", "/account", "/admin", "/logout", "/session", "/view", "/health?deep=1"):
        walk.get(path)
    walk.get("/login", status=303)
    walk.get("/nowhere", status=404)


def test_failed_sign_in_leaks_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. A failed sign-in leaks no secret, whatever the user enters and the backend
    returns."""
    wrong = walk.keep("a wrong password", secrets.token_hex(16))
    walk.sign_in(401, password=wrong)
    walk.sign_in(401, password=wrong + "x" * 5000)
    walk.sign_in(403, csrf_token=walk.keep("a forged CSRF token", secrets.token_hex(16)))
    echo = Answer(status=400, json_body={"error": "wrong", "sent": wrong})
    token = Answer(json_body={"access": f"{wrong}\n", "refresh": wrong, "detail": wrong})
    no_jwt = Answer(json_body={"access": f"{wrong}.{wrong}.x", "refresh": wrong})
    for number, (answer, status) in enumerate(
        [
            (echo, 503),
            (token, 503),
            (no_jwt, 503),
            (Answer(wrong, status=500), 503),
            (Answer(status=307, headers={"Location": f"http://127.0.0.1:1/{wrong}"}), 503),
            (Answer(wrong, headers={"Content-Encoding": "gzip"}), 503),
            (Answer(status=429, json_body={"detail": wrong}), 429),
            (Answer(wrong * 10_000), 503),
            (Answer(status=503, headers={"Retry-After": wrong}), 503),
        ]
    ):
        backend.instead[LOGIN] = answer
        # Each attempt has another name, because attempts are counted by name.
        walk.sign_in(status, password=wrong, username=f"alice{number}")


def test_throttled_sign_in_leaks_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. After too many attempts to sign in, the counters in Redis and the page with status
    429 contain no secret."""
    wrong = walk.keep("a wrong password", secrets.token_hex(16))
    for _ in range(10):
        walk.sign_in(401, password=wrong)
    walk.sign_in(429)


@pytest.mark.parametrize("seconds", [DUE, EXPIRED, ENDED])
@pytest.mark.parametrize(
    "answer",
    [
        None,
        Answer(status=401, json_body=NOT_VALID),
        Answer(status=503),
        Answer("<h1>Welcome</h1>"),
        Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}),
        Answer(json_body={"access": "garbage"}),
        Answer(json_body={"access": "gar.ba.ge"}),
    ],
    ids=["new tokens", "401", "503", "HTML", "redirect", "garbage", "garbage with three parts"],
)
def test_renewal_leaks_nothing(
    walk: Walk, backend: Served, seconds: float, answer: Answer | None
) -> None:
    """Threat L1. No outcome of a renewal leaks a secret, in any phase of the session. Requests that
    get the stored outcome leak no secret either."""
    walk.sign_in()
    old = walk.browser.cookie_header()
    if answer is not None:
        backend.instead[REFRESH] = answer
    with later(seconds):
        for headers in (PAGE, DATA, old | PAGE, old | DATA):
            for path in ("/account", "/session", "/"):
                walk.get(path, headers=headers, status=None)
        fields = {"csrf_token": walk.get("/session").json["csrf_token"]}
        walk.post("/session", fields, status=None)


def test_backend_down_leaks_nothing(walk: Walk) -> None:
    """Threat L1. If the backend refuses connections, the exceptions of the package ``requests``
    refer to the URL and the body of the request. Still no output contains a secret."""
    with Served(walk.issuer()) as backend:
        walk.site(backend.url)
        walk.sign_in()
        csrf = walk.csrf()
    walk.view = lambda request: request.backend.get("/me", headers={"X": "y"}).json()
    walk.get("/view", status=503)
    walk.post("/session", {"csrf_token": csrf}, status=503)
    with later(EXPIRED):
        walk.get("/account", status=503)
    walk.get("/health?deep=1", status=503)
    walk.post("/logout", {"csrf_token": csrf}, status=303)
    walk.sign_in(503)


def test_backend_calls_of_a_view_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If a call of the backend by a view fails, the log contains no secret."""
    walk.sign_in()
    for instead, call, status in [
        (None, lambda request: request.backend.get("/me").json(), 200),
        (None, lambda request: request.backend.get("/nothing").raise_for_status(), 500),
        (None, lambda request: request.backend.get("https://elsewhere.example/"), 500),
        (None, lambda request: request.backend.get("/me", headers={"X": "\n"}), 500),
        (Answer(status=401), lambda request: request.backend.get("/me").raise_for_status(), 500),
        (Answer("no JSON"), lambda request: request.backend.get("/me").json(), 500),
        (Answer("x" * 99, content_length=999), lambda request: request.backend.get("/me"), 500),
    ]:
        walk.view = call
        backend.instead = {} if instead is None else {"/me": instead}
        walk.get("/view", status=status)


@pytest.mark.parametrize("everywhere", ["", "1"])
def test_sign_out_leaks_nothing(walk: Walk, backend: Served, everywhere: str) -> None:
    """Threat L1. A sign-out leaks no secret, even if the backend returns 500 to it. Later requests
    with a copy of the old cookie leak no secret either."""
    backend.instead[BLACKLIST] = Answer(status=500)
    walk.sign_in()
    copy = walk.browser.cookie_header()
    walk.post("/logout", {"csrf_token": "wrong", "everywhere": everywhere}, status=403)
    walk.post("/logout", {"csrf_token": walk.csrf(), "everywhere": everywhere}, status=303)
    for headers in (PAGE, DATA):
        walk.get("/account", headers=copy | headers, status=None)
        walk.get("/session", headers=copy | headers)


def test_refused_requests_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. Refused requests leak no secret: changed cookies, forged tokens, unreadable or too
    large forms."""
    walk.sign_in()
    token, csrf = walk.browser.token(), walk.csrf()
    for cookie in (token[:-4], token + "x", token[::-1], token[:300], f'"{token}', token * 9):
        for headers in (PAGE, DATA):
            headers = headers | {"Cookie": f"{COOKIE}={cookie}; {COOKIE}.0={cookie[:2000]}"}
            walk.get("/account", headers=headers, status=None)
    walk.sign_in(status=303)
    walk.post("/session", headers={"X-CSRF-Token": csrf[:-1]}, status=403)
    walk.post("/session", {"csrf_token": csrf}, headers={"Origin": "https://x.example"}, status=403)
    walk.post("/login", {"password": walk.password + "x" * 70_000}, status=413)
    unread = {"Content-Type": "multipart/form-data; boundary"}
    body = f"--\npassword={walk.password}&csrf_token={csrf}".encode()
    walk.send("/login", 400, method="POST", headers=unread, body=body)


def test_failing_views_and_subscribers_leak_nothing(walk: Walk, backend: Served) -> None:
    """Threat L1. If views and subscribers of the application raise exceptions, no secret leaks."""

    def view(request: Request) -> Any:
        get_csrf_token(request)
        raise LookupError("a bug")

    def refuse(request: Request) -> Any:
        raise HTTPForbidden()

    def fail(event: Any) -> None:
        raise LookupError("a bug of a subscriber")

    walk.sign_in()
    for walk.view in (view, refuse):
        walk.get("/view", status=None)
    csrf, copy = walk.csrf(), walk.browser.cookie_header()
    walk.browser.app.registry.registerHandler(fail, (SessionEvent,))
    walk.browser.reset()
    walk.sign_in(500)
    for seconds in (EXPIRED, ENDED):
        with later(seconds):  # The log has the exception, and the request goes on.
            walk.get("/account", headers=copy, status=None)
    walk.post("/logout", {"csrf_token": csrf}, headers=copy, status=None)


def test_access_token_invalid_in_a_header_is_not_leaked(walk: Walk, backend: Served) -> None:
    """Threats L1, B7. Another application that shares the cookie writes an access token that no
    header may carry: one with a line break, for example. No error contains this token."""
    walk.sign_in()
    token = walk.keep("an odd access token", secrets.token_hex(16))
    session = walk.browser.opened()
    walk.view = lambda request: request.backend.get("/me").json()
    for odd in (f"{token}\r\nX: y", f"{token} ", f"{token}\u2028", f"{token}é"):
        odd_session = replace(session, tokens=replace(session.tokens, access=odd))
        sealed = walk.browser.services.sealer.seal(odd_session)
        walk.get("/view", headers={"Cookie": f"{COOKIE}={sealed}"}, status=500)


def test_oauth2_backend_leaks_nothing(walk: Walk) -> None:
    """Threat L1. A backend with opaque refresh tokens and a client secret leaks neither of them."""
    server = OAuth2()
    server.client_secret = walk.keep("the client's secret", secrets.token_hex(16))
    key = walk.keep("the key", secrets.token_hex(32))
    with Served(walk.backend(server)) as served:
        client = {
            "backend__preset": "oauth2",
            "backend__client_id": CLIENT_ID,
            "backend__client_secret": server.client_secret,
        }
        walk.site(served.url, backend__verify=f"secret:{key}", **client)
        walk.sign_in(503, password="alice-password")  # The token is signed with another key.
        walk.site(served.url, **client)
        walk.sign_in(password="alice-password")
        with later(EXPIRED):
            walk.get("/account")
        server.client_secret = "changed"
        with later(2 * EXPIRED):
            walk.get("/account", status=None)
        walk.post("/logout", {"csrf_token": walk.csrf()}, status=303)
        walk.sign_in(503, password="alice-password")


def test_debug_toolbar_shows_no_token(walk: Walk, backend: Served) -> None:
    """Threat L1. The debug toolbar shows no access token and no refresh token.

    The toolbar is for development. It shows the request and the ini file as they are: cookies, the
    CSRF token, the form with the password, and ``authapp.secret``.
    """
    keys = {
        "pyramid.includes": "pyramid_debugtoolbar",
        "debugtoolbar.hosts": "127.0.0.1",
        "debugtoolbar.includes": "authapp.web.debug_panel",
    }
    browser = Site(wsgi=authapp.main({}, **(settings(backend.url) | keys)))
    browser.extra_environ["REMOTE_ADDR"] = "127.0.0.1"
    browser.sign_in("alice", walk.password)
    shown = browser.get("/_debug_toolbar/").text
    for seconds in (0, DUE, 2 * DUE):
        with later(seconds):
            browser.get("/account")
        shown += browser.get("/_debug_toolbar/").text
    assert "SessionSecurityPolicy" in shown
    assert "The session of this request" in shown
    walk.secrets = {text: name for text, name in walk.secrets.items() if "token" in name}
    assert len(walk.secrets) == 6
    walk.tell("the toolbar", shown)
