"""Fuzz all input from outside with atheris (libFuzzer), which looks for inputs that run new code.

``PYTHONPATH=tests python -m fuzz TARGET -atheris_runs=100000`` runs one of :data:`TARGETS`. If an
input fails, the fuzzer writes it to a file ``crash-…``. To run this input again, give the name of
the file as an argument. tests/whole/test_fuzz.py runs each target with a fixed number of inputs.

Without arguments, ``python -m fuzz`` reads its standard input. Each line has the arguments of one
run.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import atheris

with atheris.instrument_imports(include=["authapp"]):
    from pyramid.interfaces import IRoutesMapper
    from pyramid.request import Request as PyramidRequest
    from webob import Request, Response

    import authapp
    from authapp.backend.embedded import WSGIAdapter
    from authapp.backend.expressions import expression
    from authapp.backend.http_backend import HTTPBackend
    from authapp.backend.http_client import BoundedSession
    from authapp.backend.identity_reader import ClaimExpressions
    from authapp.backend.presets import names
    from authapp.backend.protocol import BackendRejected, BackendUnavailable, Credentials
    from authapp.backend.token_reader import TokenReader
    from authapp.session.cookie_reader import CookieReader
    from authapp.session.cookies import SessionCookie, readable
    from authapp.session.encryption import CannotOpen, Sealer
    from authapp.session.session import Identity, Session, TokenPair, Validity, jwt_claims
    from authapp.settings.route_settings import PATHS
    from authapp.store.redis_encryption import KeyRing
    from authapp.web.redirects import safe_next
    from authapp.web.routes import is_at, is_own
    from site_under_test import description, settings

NAME = "authapp.session"
SECRET = b"a secret for the fuzzer that is long enough"
NOW = 1_790_000_000
COOKIE = SessionCookie(NAME, secure=False)
SEALERS = [Sealer([SECRET], name, NAME) for name in ("next-auth-4", "authjs-5")]
NAMES = ClaimExpressions(*map(expression, ("sub || id", "email", "name", "roles", "scope")))
PRESETS = [description(backend__preset=name) for name in names()]
RING, KEY = KeyRing(SECRET), b"authapp:a key"


def _session(access: str = "access") -> Session:
    tokens, until = TokenPair(access, "refresh"), Validity(4_790_000_900, 4_790_604_800)
    return Session.start(Identity(1, roles=("admin",)), tokens, until, NOW)


SMALL = [sealer.seal(_session()) for sealer in SEALERS]
LARGE = [sealer.seal(_session("a" * 6000)) for sealer in SEALERS]
SESSIONS = [
    [sealer.open(text) for text in texts]
    for sealer, *texts in zip(SEALERS, SMALL, LARGE, strict=True)
]
SEALED = RING.encrypt(KEY, "what is remembered")


def _identity(header: str) -> None:
    """Check that a cookie header gives no session, or one of the sessions that this test
    encrypted."""
    for number, sealer in enumerate(SEALERS):
        for text in (header, readable(header)):
            for candidate in COOKIE.read(text).candidates:
                try:
                    sealer.open(candidate)
                except CannotOpen:
                    continue
                assert candidate in (SMALL[number], LARGE[number]), "identity from another seal"
        session = CookieReader(COOKIE, sealer).read(header).session
        assert session in (None, *SESSIONS[number]), "identity from another seal"


def cookie_header(data: bytes) -> None:
    """Fuzz the ``Cookie`` header with any bytes, decoded as in WSGI (PEP 3333)."""
    _identity(data.decode("latin-1"))


def sealed_token(data: bytes) -> None:
    """Fuzz a session token: change, insert or remove some of its bytes."""
    provider = atheris.FuzzedDataProvider(data)
    token = bytearray(SMALL[provider.ConsumeIntInRange(0, 1)].encode())
    while provider.remaining_bytes() > 3:
        at = provider.ConsumeIntInRange(0, len(token))
        token[at : at + provider.ConsumeIntInRange(0, 3)] = provider.ConsumeBytes(2)
    _identity(f"{NAME}={token.decode('latin-1')}")


def chunks(data: bytes) -> None:
    """Fuzz the chunks of two encrypted sessions: in any order, mixed, cut, with any numbers."""
    provider = atheris.FuzzedDataProvider(data)
    cookies = []
    while provider.remaining_bytes() and len(cookies) < 60:
        token = LARGE[provider.ConsumeIntInRange(0, 1)]
        cut = provider.ConsumeIntInRange(0, len(token))
        piece = token[cut : cut + provider.ConsumeIntInRange(0, 4000)]
        index = provider.PickValueInList(["", ".0", ".1", ".2", ".3", ".01", ".-1", ".9" * 9])
        cookies.append(f"{NAME}{index}={piece}")
    _identity("; ".join(cookies))


def backend_answer(data: bytes) -> None:
    """Fuzz the response of the backend: its status, type, headers and body, and the claims in a
    token."""
    provider = atheris.FuzzedDataProvider(data)
    status = provider.PickValueInList([200, 200, 200, 201, 204, 301, 400, 401, 403, 429, 500, 503])
    kind = provider.PickValueInList(["application/json", "text/html", "application/problem+json"])
    preset = provider.PickValueInList(PRESETS)
    after = provider.PickValueInList(["1", "-1", "9" * 400, "1e9", "nan", "Wed, 21 Oct 2015", ""])
    body = provider.ConsumeBytes(provider.remaining_bytes())

    def answer(request: Request) -> Response:
        response = Response(body, status, content_type=kind, charset=None)
        response.headers["Retry-After"] = after
        return response

    http = BoundedSession(5)
    http.mount("http://", WSGIAdapter(_wsgi(answer)))
    backend = HTTPBackend(http, "http://backend.invalid", preset)
    login = partial(backend.login, Credentials("alice", "password"))
    for verb in (login, partial(backend.refresh, TokenPair("access", "refresh"))):
        with suppress(BackendRejected, BackendUnavailable):
            TokenReader(NAMES, None, None, 1000).read(verb(), NOW)
    jwt_claims(f"a.{body.decode('latin-1')}.c")
    with suppress(ValueError, RecursionError):  # NotASession is a ValueError
        Session.from_claims(json.loads(body))


def _wsgi(answer: Callable[[Request], Response]) -> Callable[..., object]:
    return lambda environ, start_response: answer(Request(environ))(environ, start_response)


def redis_value(data: bytes) -> None:
    """Fuzz a value in Redis: with any bytes, and with some bytes of an encrypted value changed."""
    assert RING.decrypt(KEY, data) is None or data == SEALED
    changed = bytes(a ^ b for a, b in zip(SEALED, data.ljust(len(SEALED), b"\0"), strict=False))
    assert RING.decrypt(KEY, changed) is None or changed == SEALED
    assert RING.decrypt(b"authapp:another", SEALED) is None


SITE = authapp.main({}, **settings("embedded:", login__rate="9999/second"))
PIECES = [*PATHS.values(), "/", "//", "\n", "%0a", ";", "..", "?next=", "é", "http:"]
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "get", "X"]
HEADERS = [
    "Accept", "Accept-Language", "Content-Type", "Cookie", "Forwarded", "HX-Current-URL",
    "HX-Request", "Host", "If-Modified-Since", "If-None-Match", "Origin", "Range", "Referer",
    "Sec-Fetch-Mode", "Sec-Fetch-Site", "Transfer-Encoding", "X-CSRF-Token", "X-Forwarded-Host",
    "X-HTTP-Method-Override", "X-Request-ID", "X-Requested-With",
]  # fmt: skip
ORDINARY = ["localhost", "text/html", "application/json", "*/*;q=x", "null", "navigate", "true"]
FORM = "application/x-www-form-urlencoded"


def _path(provider: atheris.FuzzedDataProvider) -> str:
    """Return a URL path, decoded as in WSGI (PEP 3333). It is made of parts of authapp's paths and
    other bytes."""
    pieces = []
    while provider.remaining_bytes() and len(pieces) < 4:
        own = provider.ConsumeBool()
        text = provider.PickValueInList(PIECES).encode() if own else provider.ConsumeBytes(3)
        pieces.append(text.decode("latin-1"))
    return "/" + "".join(pieces).lstrip("/")


def path(data: bytes) -> None:
    """Fuzz a path and ``next``. authapp and Pyramid must agree on which route a path has, and
    ``next`` must stay on this site."""
    request = PyramidRequest.blank("/")
    request.registry = SITE.registry
    request.environ["PATH_INFO"] = _path(atheris.FuzzedDataProvider(data))
    with suppress(UnicodeDecodeError):  # the tween answers such a path before routing
        request.environ["PATH_INFO"].encode("latin-1").decode()
        matched = request.registry.getUtility(IRoutesMapper)(request)["route"]
        assert is_at(request) is is_own(matched), "a path that only one of us matches"
    target = safe_next(request, data.decode("utf-8", "replace"))
    assert target[0] == "/", "next leads elsewhere"
    assert target[1:2] not in ("/", "\\"), "next leads elsewhere"


def headers(data: bytes) -> None:
    """Fuzz the request headers that authapp or a library parses."""
    _answer(_request(atheris.FuzzedDataProvider(data), "GET", "/account"))


def whole_request(data: bytes) -> None:
    """Fuzz the method, path, query, headers and body of a request."""
    provider = atheris.FuzzedDataProvider(data)
    method = provider.PickValueInList(METHODS)
    _answer(_request(provider, method, _path(provider)))


def _request(provider: atheris.FuzzedDataProvider, method: str, path_info: str) -> Request:
    request = Request.blank("/", {"PATH_INFO": path_info, "REMOTE_ADDR": "192.0.2.1"})
    request.host, request.method = "localhost", method
    for _ in range(provider.ConsumeIntInRange(0, 5)):
        name = provider.PickValueInList(HEADERS)
        if provider.ConsumeBool():
            value = provider.PickValueInList(ORDINARY)
        else:
            value = provider.ConsumeBytes(20).decode("latin-1")
        request.environ["HTTP_" + name.upper().replace("-", "_")] = value
    request.environ["QUERY_STRING"] = provider.ConsumeBytes(20).decode("latin-1")
    if provider.ConsumeBool():
        request.environ["CONTENT_TYPE"] = FORM
        request.body = provider.ConsumeBytes(200)
    return request


def _answer(request: Request) -> None:
    """Send a request. Check that the response has no status 500 and no session cookie."""
    response = request.get_response(SITE)
    assert response.status_int != 500, "an accident"
    assert not any(each.startswith(f"{NAME}=e") for each in response.headers.getall("Set-Cookie"))


TARGETS = {
    each.__name__: each
    for each in (
        cookie_header,
        sealed_token,
        chunks,
        backend_answer,
        redis_value,
        path,
        headers,
        whole_request,
    )
}
LIMIT = 10.0
"""The longest time that one input may take, in seconds. It is long because the machine may be busy.
"""


def main(arguments: list[str]) -> None:
    """Fuzz one target, until an input fails or all runs are done."""
    target = TARGETS[arguments.pop(1)]

    def timed(data: bytes) -> None:
        began = time.perf_counter()
        target(data)
        assert time.perf_counter() - began < LIMIT, "it hangs"

    atheris.Setup(arguments, timed)
    atheris.Fuzz()


def main_for_each_line() -> None:
    """Fuzz one target for each line of the input, in a fork of this process.

    Each run writes its output to the file ``log``. When a run ends, its exit status is printed. The
    instrumented imports take two seconds, so this process does them once for all runs.
    """
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            main(["fuzz", *line.split()])
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv) if len(sys.argv) > 1 else main_for_each_line()
