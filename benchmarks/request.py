"""A signed-in user's request to the bare page, in one process: each framework with and without
sign-in.

The bare page has no database, no transaction and no layout. It is the smallest page that a
framework serves. So look at the time that a package adds to the page, and not at the ratio.

- "Standard directives that do nothing" is the cost of Pyramid itself: a security policy, a
  subscriber, a CSRF default, four reified attributes, three tweens and five routes. For the reified
  attributes, Pyramid makes a class in each request.
- *warm*: authapp finds the session in a cache. Its time goes into the checks of the session
  (revocation and phase), ACLs, three template variables and two response headers.
- *cold*: authapp decrypts the session. Most of its time goes into AES-GCM, base64 and JSON: see the
  table "Open and seal".
- *by specification*: the name of the template is an asset specification. On the other pages,
  pyramid_jinja2 searches for the template for about 30 µs in each request. authapp adds the same
  time to both kinds of pages. With the search, this is a smaller part of the page's time.

A peer is another package that keeps users signed in. A peer that stores a session stores the same
data as authapp, and most peers do not encrypt the data. Some peers register nothing with their
framework, so they do not have the cost of reified attributes. Do not compare authapp with them.

The time of authapp does not depend on the size of a session, but on how many sessions send requests
in turn, because recent ``Cookie`` headers are cached.
"""

import base64
import json
from functools import partial
from typing import Any

import itsdangerous
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from authapp.session.session import Session
from benchmarks.other_pages import (
    authlib_session,
    authlib_user,
    django_pages,
    flask_app,
    starlette_app,
)
from benchmarks.pyramid_pages import BY_SPECIFICATION, pyramid_page
from benchmarks.pyramid_requests import IDLE, WARM, Contender, contenders, rows
from benchmarks.rounds import Target, differences, measure, turn
from benchmarks.samples import SECRET, claims_of, small
from benchmarks.visits import asgi, with_authapp, wsgi

TITLE = "A request to a bare page"
ROUNDS = 301
QUICK, QUICK_WARM = "Pyramid, by specification", "authapp, warm, by specification"


def starlette_cookie(session: object) -> str:
    """Return the ``Cookie`` header that Starlette's sessions use for these values."""
    text = base64.b64encode(json.dumps(session).encode())
    return f"session={itsdangerous.TimestampSigner(SECRET).sign(text).decode()}"


def flask_cookie(app: Flask, values: dict[str, Any]) -> str:
    """Return the ``Cookie`` header that Flask's sessions use for these values."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return f"session={serializer.dumps(values)}"


def others(session: Session) -> dict[str, Contender]:
    """Return the contenders in other frameworks, and those in Pyramid whose page names its template
    by an asset specification."""
    bearer = f"Bearer {session.tokens.access}"
    by_specification = partial(pyramid_page, renderer=BY_SPECIFICATION)
    quick, environ, _ = with_authapp(by_specification, session)
    flask, django = flask_app(), django_pages()
    plain, signed_in = starlette_app(sessions=False), starlette_app(sessions=True)
    cookie = {"claims": starlette_cookie(claims_of(session)), "id": starlette_cookie({"sub": "1"})}
    rest = "Django REST framework"
    return {
        QUICK: Contender(QUICK, turn(wsgi(by_specification()))),
        QUICK_WARM: Contender(QUICK, turn(wsgi(quick, **environ))),
        "Flask": Contender("Flask", turn(wsgi(flask))),
        "Flask-JWT-Extended": Contender(
            "Flask", turn(wsgi(flask, "/signed-in", HTTP_AUTHORIZATION=bearer))
        ),
        "Django": Contender("Django", turn(wsgi(django.plain, "/view"))),
        "django-allauth": Contender(
            "Django", turn(wsgi(django.allauth, "/view", HTTP_COOKIE=django.cookie))
        ),
        rest: Contender(rest, turn(wsgi(django.plain))),
        "SimpleJWT": Contender(
            rest, turn(wsgi(django.plain, "/signed-in", HTTP_AUTHORIZATION=bearer))
        ),
        "Starlette": Contender("Starlette", asgi(plain)),
        "Starlette's session": Contender("Starlette", asgi(signed_in, cookie=cookie["claims"])),
        "Starlette's session, an id alone": Contender(
            "Starlette", asgi(signed_in, cookie=cookie["id"])
        ),
        "Authlib in Starlette's session": Contender(
            "Starlette",
            asgi(
                starlette_app(sessions=True, userid=authlib_user),
                cookie=starlette_cookie(authlib_session(session)),
            ),
        ),
        "Authlib in Flask's session": Contender(
            "Flask",
            turn(
                wsgi(flask, "/authlib", HTTP_COOKIE=flask_cookie(flask, authlib_session(session)))
            ),
        ),
    }


def report() -> tuple[str, list[Target]]:
    """Return the table and the targets."""
    session = small()
    pages = contenders(pyramid_page, session, strangers=False) | others(session)
    seconds = measure({name: each.turn for name, each in pages.items()}, ROUNDS)
    target = Target(
        f"bare page, {WARM} less {IDLE}",
        25,
        [each * 1e6 for each in differences(seconds[WARM], seconds[IDLE])],
        " µs",
    )
    return rows(pages, seconds), [target]
