"""A program whose instructions callgrind counts: ``python -m benchmarks.counted SET NUMBER``.

1. The program prepares the visits of the set, and does each visit often enough to fill all caches.
2. It prints the names of the visits as a JSON list, and waits for a line of input. Before the
   caller sends this line, the caller switches callgrind on.
3. The program does each visit NUMBER times in each of :data:`WINDOWS` windows. Before each window
   it calls :func:`mark`. With ``--dump-before``, callgrind then writes its counts and begins again
   at 0.

Two runs must give nearly the same counts. So the program uses no sockets and does not wait, it
decides when the garbage collector runs, and the caller sets ``PYTHONHASHSEED=0``.
"""

import gc
import io
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import urlencode

from pyramid.config import Configurator
from pyramid.request import Request

from authapp.backend.protocol import Credentials
from authapp.session.session import Identity, Session, TokenPair, Validity, jwt_claims
from benchmarks.pyramid_pages import page, pyramid_page
from benchmarks.samples import LIFETIME, SECRET, small, token
from benchmarks.visits import header, with_authapp, wsgi

MARK = "sched_get_priority_max"
"""A function of the C library, for ``--dump-before``. Only :func:`mark` calls this function, so
each call is the boundary of a window."""

WINDOWS = 3
"""The number of windows in which each visit is counted. The caller takes the median of the counts.
So work that happens in only one window, such as the growth of a table, does not count."""

WARM_UP = 30
"""How often each visit is done before it is counted. Python 3.11 and later make code faster that
runs often, and this must happen before the count."""


def mark() -> None:
    os.sched_get_priority_max(0)


class Prepared:
    """A backend that responds at once, with tokens that were signed before.

    Each sign-in and each renewal is for another user, because a real user has few sessions.
    """

    def __init__(self, number: int) -> None:
        self._users = {f"user{each:06}": _tokens(f"user{each:06}") for each in range(number)}
        self.sessions = [_tokens(user) for user in self._users]
        self._renewed = {
            old.refresh: new for old, new in zip(self.sessions, self._users.values(), strict=True)
        }

    def login(self, credentials: Credentials) -> TokenPair:
        return self._users[credentials.username]

    def refresh(self, tokens: TokenPair) -> TokenPair:
        return self._renewed[tokens.refresh]

    def logout(self, tokens: TokenPair) -> None:
        pass


def _tokens(user: str) -> TokenPair:
    """Return two tokens for a user, without the claim ``iat``.

    The tokens are signed long before they are used. authapp compares ``iat`` with the present time,
    so it would think that the backend's clock is wrong.
    """
    return TokenPair(
        *(token(300, SECRET, "HS256", kind, user, issued=False) for kind in ("access", "refresh"))
    )


def five(number: int) -> dict[str, Callable[[], object]]:
    """Return name -> visit, for the five requests that the regression gate counts."""
    backend = Prepared(WINDOWS * number + WARM_UP)

    def bare(include: Callable[[Configurator], None], **ini: str) -> Any:
        def everything(config: Configurator) -> None:
            include(config)
            config.set_auth_backend(backend)
            config.add_route("open", "/open")
            config.add_view(page, route_name="open", renderer="page.jinja2")

        return pyramid_page(everything, **ini)

    app, environ, forget = with_authapp(bare, small())
    warm = wsgi(app, **environ)

    def cold() -> None:
        forget()
        warm()

    return {
        "warm": warm,
        "cold": cold,
        "anonymous": wsgi(app, "/open"),
        "renewal": renewals(app, backend),
        "sign-in": sign_ins(app),
    }


def renewals(app: Any, backend: Prepared) -> Callable[[], object]:
    """Return a function that visits the page with an expired session, of another user each time."""
    now = int(time.time())
    expired = Validity(now - 1, now + LIFETIME)
    cookies = iter([header(app, _expired(tokens, expired)) for tokens in backend.sessions])
    environ = Request.blank("/page", base_url="https://localhost").environ
    return lambda: _answer(app, environ | next(cookies), "200 OK")


def _expired(tokens: TokenPair, validity: Validity) -> Session:
    identity = Identity(jwt_claims(tokens.access)["sub"], claims=jwt_claims(tokens.access))
    return Session.start(identity, tokens, validity, validity.valid_until - LIFETIME)


def sign_ins(app: Any) -> Callable[[], object]:
    """Return a function that sends the sign-in form, each time as another user."""
    names = count()
    environ = Request.blank("/login", base_url="https://localhost", method="POST").environ
    environ["HTTP_COOKIE"] = "__Host-authapp.csrf=0123456789abcdef0123456789abcdef01234567"
    environ["HTTP_ORIGIN"] = "https://localhost"
    environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
    fields = {"password": "correct", "csrf_token": environ["HTTP_COOKIE"].partition("=")[2]}

    def visit() -> None:
        body = urlencode({"username": f"user{next(names):06}", **fields}).encode()
        sent = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        _answer(app, environ | sent, "303 See Other")

    return visit


def _answer(app: Any, environ: dict[str, Any], expected: str) -> None:
    """Send a request to the application.

    :raises AssertionError: if the response has another status than ``expected``, or sets no session
        cookie.
    """
    answers: list[Any] = []
    answer = app(dict(environ), lambda *answer: answers.append(answer))
    body = b"".join(answer)
    status, headers = answers[0][:2]
    assert status == expected, (status, body)
    assert any(name == "Set-Cookie" and "authapp.session=" in value for name, value in headers)


def starter(number: int) -> dict[str, Callable[[], object]]:
    """Return the visits to three starter pages: of plain Pyramid, with authapp, and with tweens,
    routes and other parts that do nothing (:func:`benchmarks.pyramid_peers.idle`)."""
    from benchmarks.pyramid_requests import OURS, PYRAMID

    return {
        name: visit for name, visit in starter_peers(number).items() if name in {PYRAMID, *OURS}
    }


def starter_peers(number: int) -> dict[str, Callable[[], object]]:
    """Return the visits to the starter page, one for each contender: see :func:`bare`.

    It takes minutes to count all these visits.
    """
    from benchmarks.pyramid_requests import visits
    from benchmarks.starter_page import starter_page

    return visits(starter_page, small(), strangers=True)


def bare(number: int) -> dict[str, Callable[[], object]]:
    """Return the visits to the bare page, one for each contender.

    The contenders are applications with one of these: no sign-in, authapp, one other Pyramid
    package, or parts that do nothing (:func:`benchmarks.pyramid_peers.idle`).
    """
    from benchmarks.pyramid_requests import visits

    return visits(pyramid_page, small(), strangers=False)


SETS = {"five": five, "starter": starter, "starter-peers": starter_peers, "bare": bare}


def main(name: str, number: int) -> None:
    """Do the visits of a set as the docstring of this module describes.

    :param name: the name of the set, a key of :data:`SETS`.
    :param number: how often each visit is done in a window.
    """
    visits = SETS[name](number)
    for visit in visits.values():
        for _ in range(WARM_UP):
            visit()
    gc.collect()
    gc.freeze()
    gc.disable()
    print(json.dumps(list(visits)), flush=True)
    sys.stdin.readline()
    for visit in visits.values():
        for _ in range(WINDOWS):
            mark()
            for _ in range(number):
                visit()
            gc.collect()  # frees only what these visits have left
    mark()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
