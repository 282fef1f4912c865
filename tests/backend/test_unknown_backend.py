"""A backend without a preset works with only the ini lines that docs/backends.md shows."""

import secrets
import textwrap
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import jwt
import pytest
import time_machine
from webob import Request, Response

from authapp.settings.settings import settings_of
from servers import Servers
from site_under_test import Site

DOCUMENT = Path(__file__).parents[2] / "docs/backends.md"
KEY = "key-of-the-unknown-backend-in-tests"


class Unknown:
    """A backend that puts its JSON into ``data``, refuses with status 200, and signs out with
    DELETE."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.ended: list[str] = []

    def pair(self, sub: int) -> Response:
        now = int(time.time())
        refresh = secrets.token_hex()
        self.live.add(refresh)
        access = jwt.encode({"sub": str(sub), "iat": now, "exp": now + 300}, KEY)
        data = {"accessToken": access, "refreshToken": refresh, "profile": {"userName": "Alice"}}
        return Response(json_body={"code": 200, "data": data})

    def __call__(self, environ: object, start_response: object) -> object:
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request: Request) -> Response:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        match request.method, request.path:
            case "POST", "/v1/session":
                body = request.json_body
                good = (body["strategy"], body["login"], body["secret"])
                if good == ("local", "alice", "alice-password"):
                    return self.pair(7)
                return Response(json_body={"code": 1401, "msg": "bad credentials"})
            case "POST", "/v1/session/renew":
                if bearer in self.live:
                    self.live.remove(bearer)
                    return self.pair(7)
                return Response(json_body={"code": 1402, "msg": "spent"})
            case "DELETE", "/v1/session":
                self.ended.append(bearer)
                return Response(status=204)
        return Response(status=404)


@pytest.fixture
def unknown() -> Unknown:
    return Unknown()


@pytest.fixture
def site(servers: Servers, unknown: Unknown) -> Iterator[Site]:
    blocks = [block.partition("```")[0] for block in DOCUMENT.read_text().split("```ini\n")]
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.read_string("[app:main]\n" + textwrap.dedent("   " + blocks[-1].lstrip()))
    keys = {key.removeprefix("authapp."): value for key, value in parser["app:main"].items()}
    with servers.serve(unknown) as served:
        yield Site(served.url, **{key.replace(".", "__"): value for key, value in keys.items()})


def test_no_setting_of_another_backend_is_in_force(site: Site) -> None:
    shown = settings_of(site.app.registry).shown
    assert shown["authapp.backend.preset"] == "none"
    assert not any("detail" in text or "token_not_valid" in text for text in shown.values())
    assert "authapp.backend.login.throttled" not in shown


def test_a_wrong_password_is_refused(site: Site) -> None:
    assert "do not match" in site.sign_in("alice", "wrong", status=401).text


def test_a_session_works_from_sign_in_to_sign_out(site: Site, unknown: Unknown) -> None:
    site.sign_in("alice")
    page = site.get("/account").html
    assert page.find(id="user-id").text == "7"
    assert page.find(id="name").text == "Alice"
    now = time.time()
    for number in range(1, 4):
        before = site.token()
        with time_machine.travel(now + 301 * number):
            site.get("/account", status=200)
        assert site.token() != before
    with time_machine.travel(now + 301 * 3):
        access = site.opened().tokens.access
        site.sign_out()
    assert unknown.ended == [access]


def test_a_refused_renewal_ends_the_session(site: Site, unknown: Unknown) -> None:
    site.sign_in("alice")
    unknown.live.clear()
    with time_machine.travel(time.time() + 301):
        assert "reason=RefreshTokenRejected" in site.get("/account", status=303).location
