"""Fixtures: a site with a stub of an OpenID Connect provider, and a browser that visits both."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import time_machine
from webtest import TestResponse

from servers import Served, Servers
from servers.oidc import CLIENT_ID, CLIENT_SECRET, Provider
from site_under_test import SECRET, Site, main


def oidc_settings(url: str, **more: str) -> dict[str, str]:
    """Return the settings of ``[app:main]`` for a site that has a provider and no
    ``backend.url``."""
    ini = {
        "pyramid.default_locale_name": "en",
        "jinja2.bytecode_caching": "true",
        "authapp.development": "true",
        "authapp.secret": SECRET,
        "authapp.backend.timeout": "8",
        "authapp.oidc.issuer": url,
        "authapp.oidc.client_id": CLIENT_ID,
        "authapp.oidc.client_secret": CLIENT_SECRET,
        "authapp.oidc.label": "Example ID",
    }
    ini |= {f"authapp.{key.replace('__', '.')}": value for key, value in more.items()}
    return {key: value for key, value in ini.items() if value}


def later(seconds: float) -> Any:
    """Return a context in which it is later than now, by a number of seconds."""
    return time_machine.travel(time.time() + seconds)


class Browser(Site):
    """A browser that visits the site and the provider."""

    def begin(self, path: str = "/login/oidc", **options: Any) -> str:
        """Go from the site to the provider. Return the path and query of the callback URL to which
        the provider redirects."""
        response = self.get(path, status=303, **options)
        while response.location.startswith("/"):
            response = self.get(response.location, status=303)
        return self.visit(response.location)

    def visit(self, url: str) -> str:
        there = requests.get(url, allow_redirects=False, timeout=5)
        assert there.status_code == 303, there.text
        parts = urlsplit(there.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def enter(self, path: str = "/login/oidc", **options: Any) -> TestResponse:
        """Sign in with the provider. Return the site's response to the callback."""
        return self.get(self.begin(path), **options)

    def other(self) -> "Browser":
        """Return another browser, without cookies."""
        return Browser(wsgi=self.app)

    def twin(self) -> "Browser":
        other = self.other()
        for cookie in self.cookiejar:
            other.cookiejar.set_cookie(cookie)
        return other

    def transactions(self) -> list[str]:
        return [name for name in self.cookies if name.startswith("authapp.oidc.")]


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def served(servers: Servers, provider: Provider) -> Iterator[Served]:
    """Yield the provider behind a real HTTP server."""
    with servers.serve(provider) as server:
        provider.url = server.url
        yield server


@pytest.fixture
def site(served: Served) -> Browser:
    return browser(served)


def browser(served: Served, **more: str) -> Browser:
    return Browser(wsgi=main(**oidc_settings(served.url, **more)))
