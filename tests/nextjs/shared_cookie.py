"""A browser whose session cookie Pyramid and an application with the packages of Next.js share."""

import time
from collections.abc import Callable
from typing import Any

import requests
import time_machine
from pyramid.config import Configurator
from webob import Response as Answer
from webtest import TestApp

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.session.session import jwt_claims
from nextjs_side import NextSide
from servers import LOGIN, Served
from site_under_test import Site, description, settings

NEW, OLD = "the-new-secret-of-both-sides-0123456789", "the-old-secret-of-both-sides-0123456789"
FORMATS = {4: "next-auth-4", 5: "authjs-5"}
NAMES = {
    (4, False): "next-auth.session-token",
    (4, True): "__Secure-next-auth.session-token",
    (5, False): "authjs.session-token",
    (5, True): "__Secure-authjs.session-token",
}
DUE, EXPIRED, WEEK = 601, 901, 604_800
later: Callable[[float], Any] = lambda seconds: time_machine.travel(time.time() + seconds)  # noqa: E731


class Both:
    """A browser, and the Pyramid and the Next.js application that share its session cookie."""

    def __init__(
        self,
        side: NextSide,
        backend: Served,
        secure: bool,
        name: str,
        hosts: tuple[str, str] = ("localhost", "localhost"),
        **more: str,
    ):
        self.side, self.backend, self.name = side, backend, name
        ini = settings(backend.url, secret=NEW, session__format=FORMATS[side.version],
                       session__cookie=name, **more)  # fmt: skip
        if secure:
            ini |= {"authapp.development": "false", "authapp.backend.url": "https://x.example"}
        with Configurator(settings=ini) as config:
            config.include("authapp")
            # In production the URL of a backend must be HTTPS, but the test's backend uses HTTP.
            config.set_auth_backend(HTTPBackend(BoundedSession(2), backend.url, description()))
            self.pyramid = Site(wsgi=config.make_wsgi_app())
        scheme, port = ("https", 443) if secure else ("http", 80)
        there, here = ({"HTTP_HOST": f"{host}:{port}", "wsgi.url_scheme": scheme} for host in hosts)
        self.pyramid.extra_environ = here
        self.nextjs = TestApp(side, cookiejar=self.pyramid.cookiejar, extra_environ=there)

    def cookies(self) -> dict[str, str]:
        """Return the session cookie in the browser, or the chunks of the cookie."""
        found = {cookie.name: cookie.value or "" for cookie in self.pyramid.cookiejar}
        return {name: found[name] for name in sorted(found) if name.startswith(self.name)}

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies().items())

    def claims(self) -> Any:
        """Return the claims in the browser's session cookie, which the npm package decrypts."""
        return self.side.ask("getToken", cookie=self.header(), cookieName=self.name, secret=NEW)

    def seal(self, claims: dict[str, Any]) -> None:
        """Give the browser a session with these claims, which the npm package encrypts."""
        token = self.side.ask("encode", token=claims, secret=NEW, maxAge=WEEK, **self.salt())
        answer = Answer("", headers={"Set-Cookie": f"{self.name}={token}; Path=/"})
        jar, environ = self.pyramid.cookiejar, self.pyramid.extra_environ
        TestApp(answer, cookiejar=jar, extra_environ=environ).get("/")

    def salt(self) -> dict[str, str]:
        return {"salt": self.name} if self.side.version == 5 else {}

    def next_session(self) -> Any:
        """Return the session as a page of Next.js sees it, after Next.js has called its ``jwt``
        callback."""
        return self.nextjs.get("/api/auth/session").json

    def next_sign_in(self, name: str = "alice") -> None:
        token = self.nextjs.get("/api/auth/csrf").json["csrfToken"]
        fields = {"csrfToken": token, "username": name, "password": f"{name}-password"}
        self.nextjs.post("/api/auth/callback/credentials", fields, status=302)

    def next_sign_out(self) -> None:
        token = self.nextjs.get("/api/auth/csrf").json["csrfToken"]
        self.nextjs.post("/api/auth/signout", {"csrfToken": token}, status=302)

    def account(self, **options: Any) -> Any:
        headers = {"Accept": "text/html", **options.pop("headers", {})}
        return self.pyramid.get("/account", headers=headers, **options)

    def session(self, held: str = "") -> Any:
        """Return the JSON of Pyramid's ``/session``.

        :param held: a ``Cookie`` header to send instead of the browser's cookies.
        """
        if not held:
            return self.pyramid.get("/session").json
        other = TestApp(self.pyramid.app, extra_environ=self.pyramid.extra_environ)
        return other.get("/session", headers={"Cookie": held}).json


def tokens_of(backend: Served, name: str = "alice") -> dict[str, str]:
    fields = {"username": name, "password": f"{name}-password"}
    return requests.post(backend.url + LOGIN, json=fields, timeout=5).json()


def claims_of_another_callback(backend: Served, **more: Any) -> dict[str, Any]:
    """Return the claims of a session that was not written by the ``jwt`` callback of
    docs/nextjs.md, but by the callback of another application."""
    tokens = tokens_of(backend)
    until = {
        "valid_until": jwt_claims(tokens["access"])["exp"],
        "refresh_until": jwt_claims(tokens["refresh"])["exp"],
    }
    data = {"tokens": tokens, "user": {"id": 1, "theme": "dark"}, "validity": until, "cart": [7]}
    return {"sub": "1", "picture": "p.png", "data": data, **more}
