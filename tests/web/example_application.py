"""Parts of an application that includes authapp: backend classes, a root factory and a view."""

import time
from collections.abc import Callable
from typing import Any

import jwt
from pyramid.authorization import Allow, Authenticated
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.backend.protocol import BackendRejected, Credentials
from authapp.session.session import TokenPair
from authapp.testing import use_backend
from servers import Served
from site_under_test import Site, add_view, application, fresh, settings


class Root:
    __acl__ = (
        (Allow, Authenticated, "see"),
        (Allow, "user:2", "own"),
        (Allow, "role:editor", "edit"),
        (Allow, "scope:write", "write"),
    )

    def __init__(self, request: Request) -> None:
        self.request = request


class OwnBackend:
    """A backend of the application. It implements ``login``, ``refresh`` and ``logout``."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.fails: Exception | None = None

    def login(self, credentials: Credentials) -> TokenPair:
        if credentials.password != "sesame":
            raise BackendRejected("no")
        return self._pair(credentials.username, 1)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        if self.fails:
            raise self.fails
        name, _, number = tokens.refresh.partition(":")
        return self._pair(name, int(number) + 1)

    def logout(self, tokens: TokenPair) -> None:
        self.ended.append(tokens.refresh)

    def _pair(self, name: str, number: int) -> TokenPair:
        access = jwt.encode({"sub": name, "n": number}, "k" * 32)
        return TokenPair(access, f"{name}:{number}", expires_in=60)


def set_own_backend(config: Configurator) -> None:
    config.set_auth_backend(OwnBackend())


def own_backend_site(backend: OwnBackend, **keys: str) -> Site:
    ini = settings("", **keys)
    del ini["authapp.backend.url"]
    site = Site(wsgi=fresh(set_own_backend, **ini))
    use_backend(site.app, backend)
    return site


class KeepingBackend(OwnBackend):
    """A backend that issues no new refresh token at a renewal."""

    def refresh(self, tokens: TokenPair) -> TokenPair:
        access = jwt.encode({"sub": "dora", "n": time.time()}, "k" * 32)
        return TokenPair(access, tokens.refresh, expires_in=60)


def caller(backend: Served, call: Callable[[Request], Any], **keys: str) -> Site:
    """Return a signed-in browser at an application whose view, at ``/view``, is ``call``."""

    def more(config: Configurator) -> None:
        add_view(config, call)

    site = application(backend.url, more, **keys)
    site.sign_in()
    return site
