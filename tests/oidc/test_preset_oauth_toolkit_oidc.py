"""Sign-in with django-oauth-toolkit as the provider, which is set up as in docs/oidc.md."""

import html
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

import authapp
from oidc.conftest import Browser, oidc_settings
from servers.oauth_toolkit_oidc_app import CLIENT_ID, CLIENT_SECRET
from servers.process import Process, serve

ACCESS = 3


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("toolkit")
    environ = {"SITE": "http://localhost", "ACCESS": str(ACCESS)}
    with serve("oauth_toolkit_oidc_app.py", folder, **environ) as served:
        yield served


class Visitor(Browser):
    """A browser that also follows redirects within the provider, and keeps the provider's
    cookies."""

    provider = requests.Session()

    def visit(self, url: str) -> str:
        for _ in range(5):
            there = self.provider.get(url, allow_redirects=False, timeout=5)
            assert there.is_redirect, there.text
            parts = urlsplit(there.headers["Location"])
            if parts.hostname == "localhost":
                return f"{parts.path}?{parts.query}"
            url = requests.compat.urljoin(url, there.headers["Location"])
        raise AssertionError(url)


@pytest.fixture
def site(process: Process) -> Visitor:
    more = {
        "oidc__client_id": CLIENT_ID,
        "oidc__client_secret": CLIENT_SECRET,
        "oidc__scope": "openid profile email",
        "backend__timeout": "20",
    }
    Visitor.provider.trust_env = False
    return Visitor(wsgi=authapp.main({}, **oidc_settings(f"{process.url}/o", **more)))


def test_a_sign_in_a_renewal_and_a_sign_out(site: Visitor, process: Process) -> None:
    response = site.enter("/account", status=303)
    assert response.location == "/account"
    identity = site.opened().identity
    assert (identity.name, identity.email, identity.roles) == (
        "Alice Liddell",
        "alice@example.com",
        ("admin",),
    )
    before = site.opened()
    while time.time() <= before.validity.valid_until:
        time.sleep(0.02)
    assert site.get("/session").json["user"]["email"] == "alice@example.com"
    assert site.opened().tokens.refresh != before.tokens.refresh
    page = site.sign_out()
    (url,) = re.findall(r'content="0;url=([^"]*)"', page.text)
    assert html.unescape(url).startswith(f"{process.url}/o/logout/?client_id=")
    refused = process.request(
        "POST",
        "/o/token/",
        data={"grant_type": "refresh_token", "refresh_token": before.tokens.refresh},
        auth=(CLIENT_ID, CLIENT_SECRET),
    )
    assert refused.status_code in (400, 401), "the refresh token is revoked"
