"""A signed-in request in one process: the time of each framework's page with sign-in and without.

Where the time goes:

- The row "idle" shows the cost of Pyramid itself: a security policy, a subscriber, a CSRF default,
  routes, a request method and two tweens that do nothing.
- In a warm request, the rest is spent on the session (found by its header, checked for a revocation
  and for its phase), ACLs, three template variables and two response headers.
- A cold request also decrypts the token. AES-GCM, base64 and JSON alone ("Open and seal") take most
  of the time that its limit allows.

Each part was removed once, in a separate run. This saved 2 µs for the response callback, 2 µs for
the check for a revocation, 2 µs for the template variables, 1.5 µs for the tween, 1 µs for the
phase, and 0.6 µs for the header. Three other changes saved 1.5 µs together, which is within the
noise, and were not kept: services without a look-up, one pass over the response headers, and tweens
without functions of their own.

The number of instructions (valgrind, 300 requests) does not depend on other programs. A warm
request needs 1.19 times the instructions of the page, and a cold request 1.79 times. The page needs
592,000 instructions, what authapp registers 41,000, the session 69,000, and opening the session
360,000. The ratio of the times is higher, because code that runs once in a request waits for
memory, and the loops of the page do not.

A peer is another package that keeps users signed in. A peer with a session stores the same data as
authapp, without encryption. AuthTkt can store an id
only, and two rows show the cost of other peers with an id only. The cost of authapp depends on how
many different sessions send requests, not on their size, because recent headers are cached.

A ratio depends on the page too. In the first page, pyramid_jinja2 spends about 30 µs on a search
for the template, which fails. A page whose renderer is an asset specification does not need this
search. authapp adds the same time to both pages, but the ratios differ.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import itsdangerous
from pyramid.authentication import AuthTktCookieHelper
from pyramid.session import JSONSerializer, SignedSerializer
from webob import Request

from authapp.services import IServices
from authapp.session.session import Session
from benchmarks.other_pages import django_app, flask_app, starlette_app
from benchmarks.pyramid_pages import (
    BY_NAME,
    BY_SPECIFICATION,
    auth_tkt,
    idle,
    kept_cookie_session,
    pyramid_jwt,
    pyramid_page,
    signed_cookie_session,
    wsgi,
)
from benchmarks.rounds import (
    Target,
    Turn,
    differences,
    measure,
    microseconds,
    ratio,
    ratios,
    spread,
    table,
    turn,
)
from benchmarks.samples import SECRET, claims_of, small
from site_under_test import COOKIE, settings

TITLE = "A request"
ROUNDS = 301
PYRAMID = "Pyramid"
QUICK, QUICK_WARM = "Pyramid, by specification", "authapp, warm, by specification"
WARM, COLD, IDLE = "authapp, warm", "authapp, cold", "all that authapp registers, idle"


def asgi(app: Any, cookie: str = "") -> Turn:
    """Return a turn that visits ``/page``, in an event loop that is already running."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/page",
        "raw_path": b"/page",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent[:] = [*sent[-1:], message]

    async def visits(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            await app(dict(scope), receive, send)
        return (time.perf_counter() - began) / number

    asyncio.run(visits(1))
    expected = b"Hello 1" if cookie else b"Hello nobody"
    assert expected in sent[-1]["body"], sent
    return lambda number: asyncio.run(visits(number))


def authapp_page(session: Session, renderer: str = BY_NAME) -> tuple[Any, str, Callable[[], None]]:
    """The page with authapp, the cookie of a session, and a function that empties the caches."""
    ini = settings("http://localhost:9")
    app = pyramid_page(lambda config: config.include("authapp"), renderer, **ini)
    parts = app.registry.getUtility(IServices)

    def forget() -> None:
        parts.cookie_reader.cached.cache_clear()
        parts.sealer.open.cache_clear()

    return app, f"{COOKIE}={parts.sealer.seal(session)}", forget


def cookies(session: Session) -> dict[str, str]:
    """Return the peers' ``Cookie`` headers, with as much of the session as each can store."""
    now, claims = int(time.time()), claims_of(session)
    ticket = AuthTktCookieHelper(SECRET, hashalg="sha512").remember(Request.blank("/"), "1")
    signed = SignedSerializer(SECRET, "pyramid.session.", "sha512", serializer=JSONSerializer())

    def starlette(session: Any) -> str:
        text = base64.b64encode(json.dumps(session).encode())
        return f"session={itsdangerous.TimestampSigner(SECRET).sign(text).decode()}"

    def pyramid(session: Any) -> str:
        text = signed.dumps((now, now, {**session, "auth.userid": "1"})).decode()
        return f"session={text}"

    return {
        "AuthTkt": ticket[0][1].partition(";")[0],
        "SignedCookieSession": pyramid(claims),
        "SignedCookieSession, an id": pyramid({}),
        "Starlette": starlette(claims),
        "Starlette, an id": starlette({"sub": "1"}),
    }


def contenders() -> dict[str, tuple[str, Turn]]:
    """Name -> (name of the page without sign-in to compare with, turn)."""
    session = small()
    cookie, bearer = cookies(session), f"Bearer {session.tokens.access}"
    app, ours, forget = authapp_page(session)
    warm = wsgi(app, cookie=ours)
    quick, quick_ours, _ = authapp_page(session, BY_SPECIFICATION)

    def cold() -> None:
        forget()
        warm()

    flask, django = flask_app(), django_app()
    auth_tkt_page, signed_page = pyramid_page(auth_tkt), pyramid_page(signed_cookie_session)
    kept_page = pyramid_page(kept_cookie_session)
    return {
        PYRAMID: (PYRAMID, turn(wsgi(pyramid_page()))),
        WARM: (PYRAMID, turn(warm)),
        COLD: (PYRAMID, turn(cold)),
        IDLE: (PYRAMID, turn(wsgi(pyramid_page(idle), cookie=ours))),
        QUICK: (QUICK, turn(wsgi(pyramid_page(renderer=BY_SPECIFICATION)))),
        QUICK_WARM: (QUICK, turn(wsgi(quick, cookie=quick_ours))),
        "AuthTkt policy": (PYRAMID, turn(wsgi(auth_tkt_page, cookie=cookie["AuthTkt"]))),
        "SignedCookieSession policy": (
            PYRAMID,
            turn(wsgi(signed_page, cookie=cookie["SignedCookieSession"])),
        ),
        "SignedCookieSession policy, an id alone, never renewed": (
            PYRAMID,
            turn(wsgi(kept_page, cookie=cookie["SignedCookieSession, an id"])),
        ),
        "pyramid_jwt": (PYRAMID, turn(wsgi(pyramid_page(pyramid_jwt), authorization=bearer))),
        "Flask": ("Flask", turn(wsgi(flask))),
        "Flask-JWT-Extended": ("Flask", turn(wsgi(flask, "/signed-in", authorization=bearer))),
        "Django REST framework": ("Django REST framework", turn(wsgi(django))),
        "SimpleJWT": (
            "Django REST framework",
            turn(wsgi(django, "/signed-in", authorization=bearer)),
        ),
        "Starlette": ("Starlette", asgi(starlette_app(sessions=False))),
        "Starlette's session": (
            "Starlette",
            asgi(starlette_app(sessions=True), cookie["Starlette"]),
        ),
        "Starlette's session, an id alone": (
            "Starlette",
            asgi(starlette_app(sessions=True), cookie["Starlette, an id"]),
        ),
    }


def report() -> tuple[str, list[Target]]:
    """Return the table and the targets."""
    pages = contenders()
    seconds = measure({name: visits for name, (_, visits) in pages.items()}, ROUNDS)
    added = {
        name: median(differences(seconds[name], seconds[base])) for name, (base, _) in pages.items()
    }
    over = {name: ratio(seconds[name], seconds[base]) for name, (base, _) in pages.items()}
    rows = []
    for name, (base, _) in pages.items():
        figures = [microseconds(median(seconds[name])), spread(seconds[name])]
        compared = (
            ["", "", ""] if name == base else [base, microseconds(added[name]), f"{over[name]:.2f}"]
        )
        rows.append([name, *figures, *compared])
    head = ["", "median", "spread", "compared with", "added", "ratio"]
    ours = (WARM, COLD, IDLE, QUICK_WARM)
    peers = {name for name, (base, _) in pages.items() if name not in (base, *ours)}
    rest = {name: differences(seconds[name], seconds[base]) for name, (base, _) in pages.items()}
    targets = [
        Target(
            "request, warm / the page without authapp",
            1.20,
            ratios(seconds[WARM], seconds[PYRAMID]),
        ),
        Target(
            "request, warm / the page without authapp, by specification",
            1.20,
            ratios(seconds[QUICK_WARM], seconds[QUICK]),
        ),
        Target(
            "request, cold / the page without authapp",
            1.75,
            ratios(seconds[COLD], seconds[PYRAMID]),
        ),
        # A difference, not a quotient: that of two small noisy figures would be biased.
        *(
            Target(
                f"request, added, warm less {name}",
                0,
                [each * 1e6 for each in differences(rest[WARM], rest[name])],
                " µs",
            )
            for name in sorted(peers, key=added.__getitem__)
        ),
    ]
    return table(head, rows), targets
