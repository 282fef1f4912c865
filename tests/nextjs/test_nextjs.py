"""Pyramid shares its session cookie with the npm packages of Next.js: next-auth 4, @auth/core."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import time_machine
from pyramid.config import Configurator
from webob import Response as Answer
from webtest import TestApp

from authapp.backend.http_backend import HTTPBackend
from authapp.backend.http_client import BoundedSession
from authapp.session.cookies import SessionCookie
from authapp.session.encryption import Sealer
from authapp.session.session import Session, jwt_claims
from nextjs_side import NextSide, in_base64, write_scripts
from servers import BLACKLIST, LOGIN, NOT_VALID, REFRESH, Served
from session.test_encryption import PEERS
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


class Sides(dict[tuple[int, bool, str], NextSide]):
    """(version, HTTPS or not, cookie name) -> a Next.js application, which is started at its first
    use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, key: tuple[int, bool, str]) -> NextSide:
        version, secure, name = key
        url = "https://localhost" if secure else "http://localhost"
        self[key] = NextSide(
            self.folder,
            version,
            SESSION_SECRETS=in_base64(NEW, OLD),
            SESSION_COOKIE=name,
            NEXTAUTH_URL=url,
            AUTH_URL=url,
        )
        return self[key]


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    made = Sides(write_scripts(tmp_path_factory.mktemp("nextjs")))
    yield made
    for side in made.values():
        side.close()


@pytest.fixture(params=FORMATS, ids=FORMATS.values())
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def packages(sides: Sides, version: int) -> NextSide:
    """Return a Next.js application for tests that only call functions of its packages."""
    return sides[version, False, NAMES[version, False]]


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


@pytest.fixture
def both_with(sides: Sides, version: int, backend: Served) -> Callable[..., Both]:
    def make(secure: bool = False, name: str = "", renews: str = "", **more: Any) -> Both:
        name = name or NAMES[version, secure]
        side = sides[version, secure, name]
        side.environ = {"BACKEND_URL": backend.url, "PYRAMID_RENEWS": renews}
        if domain := more.get("session__domain"):
            side.environ["SESSION_DOMAIN"] = domain
        return Both(side, backend, secure, name, **more)

    return make


@pytest.fixture
def both(both_with: Callable[..., Both]) -> Both:
    return both_with()


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


# Each side decrypts the tokens of the other side.


def session_of(extra: int = 0) -> Session:
    now = int(time.time())
    return Session.from_claims(
        {
            "sub": "1",
            "iat": now,
            "exp": now + WEEK,
            "picture": "kept",
            "data": {
                "tokens": {"access": "access", "refresh": "refresh"},
                "user": {"id": 1},
                "validity": {"valid_until": now + 900, "refresh_until": now + WEEK},
                "sid": "sid",
                "more": "é" + "x" * extra,
            },
        }
    )


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("extra", [0, 6000], ids=["single", "chunked"])
def test_nextjs_decrypts_a_token_of_pyramid(packages: NextSide, secure: bool, extra: int) -> None:
    name = NAMES[packages.version, secure]
    sealer = Sealer([NEW.encode(), OLD.encode()], FORMATS[packages.version], name)
    session = session_of(extra)
    token = sealer.seal(session)
    salt = {"salt": name} if packages.version == 5 else {}
    claims = packages.ask("decode", token=token, secret=NEW, **salt)
    assert {**claims, "jti": ""} == {**session.to_claims(), "jti": ""}
    written = SessionCookie(name, secure).write(token, WEEK)
    assert len(written) == (3 if extra else 1)
    cookie = "; ".join(["theme=dark", *(each.partition(";")[0] for each in reversed(written))])
    # No cookie name is given, so the packages use their default names.
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=NEW) == claims
    assert packages.ask("getToken", cookie=cookie, secureCookie=not secure, secret=NEW) is None
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=OLD) is None


@pytest.mark.parametrize("secure", [False, True])
def test_pyramid_decrypts_a_token_of_nextjs(packages: NextSide, secure: bool) -> None:
    name = NAMES[packages.version, secure]
    sealer = Sealer([NEW.encode(), OLD.encode()], FORMATS[packages.version], name)
    claims = {**session_of().to_claims(), "a claim of theirs": {"deep": [1, None, "é"]}}
    salt = {"salt": name} if packages.version == 5 else {}
    for secret in (NEW, OLD):
        token = packages.ask("encode", token=claims, secret=secret, maxAge=WEEK, **salt)
        opened = sealer.open(token)
        assert opened.sid == "sid"
        again = packages.ask("decode", token=sealer.seal(opened), secret=NEW, **salt)
        assert again["a claim of theirs"] == {"deep": [1, None, "é"]}
        assert again["data"] == claims["data"]


def test_nextjs_accepts_several_secrets(packages: NextSide) -> None:
    """Next.js decrypts a cookie with any of several secrets. @auth/core has code for this.
    next-auth 4 needs the code of docs/nextjs.md."""
    name = NAMES[packages.version, False]
    secrets = {"secret": [NEW, OLD]} if packages.version == 5 else {}
    for secret in (NEW, OLD, "another secret, which neither side knows"):
        token = Sealer([secret.encode()], FORMATS[packages.version], name).seal(session_of())
        claims = packages.ask("getToken", cookie=f"{name}={token}", **secrets)
        assert (claims is not None) == (secret in (NEW, OLD))


def test_nextjs_reads_the_session_without_writing_a_cookie(both: Both) -> None:
    if both.side.version == 4:
        both.pyramid.sign_in()
        cookie = both.header()
        assert both.side.ask("sessionOf", cookie=cookie)["data"]["user"]["id"] == 1
        assert both.side.ask("sessionOf", cookie="") is None
        with later(EXPIRED):
            assert both.side.ask("sessionOf", cookie=cookie) is None
        assert both.header() == cookie


@pytest.mark.parametrize(
    ("pyramid", "way"),
    [
        ("", "/login?next=%2Fa%3Fb%3Dc"),
        (
            "https://app.example.com/",
            "https://app.example.com/login?next=http%3A%2F%2Flocalhost%2Fa%3Fb%3Dc",
        ),
    ],
    ids=["one host", "two hosts"],
)
def test_the_way_in_leads_to_pyramid_and_back(packages: NextSide, pyramid: str, way: str) -> None:
    assert packages.ask("wayIn", path="/a?b=c", environ={"PYRAMID_URL": pyramid}) == way
    packages.ask("wayIn", path="/", environ={"PYRAMID_URL": ""})


def test_nobody_and_to_be_renewed_are_two_states(both: Both) -> None:
    if both.side.version == 4:
        both.pyramid.sign_in()
        cookie = both.header()
        state = lambda: both.side.ask("stateOf", cookie=cookie)["state"]  # noqa: E731
        assert state() == "signed-in"
        with later(EXPIRED):
            assert state() == "to-renew"
        with later(WEEK + 1):
            assert state() == "nobody"
        assert both.side.ask("stateOf", cookie="") == {"state": "nobody"}


def test_secrets_survive_the_environment(packages: NextSide) -> None:
    secrets = ["with a $HOME # and ${more}", "ünï 'quoted' \"twice\"", "  at the ends \n"]
    read = packages.ask("secrets", environ={"SESSION_SECRETS": in_base64(*secrets)})
    packages.ask("secrets", environ={"SESSION_SECRETS": in_base64(NEW, OLD)})
    assert read == [each.strip() for each in secrets]


def test_the_real_packages_decrypt_the_tokens_of_unit_tests(packages: NextSide) -> None:
    for each in json.loads(PEERS.read_text()):
        if each["format"] == FORMATS[packages.version]:
            salt = {"salt": each["cookie"]} if packages.version == 5 else {}
            claims = packages.ask("decode", token=each["token"], secret=each["secret"], **salt)
            assert claims["picture"] == "kept"


# Pyramid treats a session that Next.js has made like its own sessions.


def test_pyramid_shows_renews_and_revokes_a_nextjs_session(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend, error="RefreshAccessTokenError"))
    assert "Set-Cookie" not in both.account(status=200).headers
    assert both.session()["user"]["id"] == 1
    with later(EXPIRED):
        assert "alice@example.com" in both.account(status=200)
        assert both.backend.calls[REFRESH] == 1
        claims = both.claims()
        assert "error" not in claims
        assert claims["picture"] == "p.png"
        assert claims["data"]["cart"] == [7]
        assert claims["data"]["user"]["theme"] == "dark"
        assert claims["data"]["sid"]
        held = both.header()
        both.pyramid.sign_out()
        assert both.cookies() == {}
        assert both.session(held)["error"] == "SessionRevoked"
        assert both.backend.calls[BLACKLIST] == 1


@pytest.mark.parametrize(
    "own",
    [
        {"user": {"id": 1, "roles": [{"id": 7, "name": "admin"}], "scopes": {"read": True}}},
        {"user": {"id": 1, "roles": "admin editor"}},
        {"user": None, "sid": None, "auth_time": "2026-11-26T00:00:00Z"},
    ],
)
def test_other_data_of_a_callback_does_not_sign_the_user_out(both: Both, own: Any) -> None:
    claims = claims_of_another_callback(
        both.backend, error={"code": "RefreshAccessTokenError"}, name=["A"]
    )
    both.seal({**claims, "data": {**claims["data"], **own}})
    both.account(status=200)
    held = both.header()
    assert both.next_session()["user"]
    with later(EXPIRED):
        assert both.session()["user"] == {"id": 1, "email": "alice@example.com", "roles": ["admin"]}
        assert "error" not in both.next_session()
        both.pyramid.sign_out()
        assert both.session(held)["error"] == "SessionRevoked"


def test_pyramid_rejects_a_session_in_more_than_three_cookies(both: Both) -> None:
    claims = claims_of_another_callback(both.backend)
    both.seal({**claims, "more": "x" * 7000})
    assert both.session()["user"]["id"] == 1
    token = both.side.ask(
        "encode", token={**claims, "more": "x" * 9000}, secret=NEW, maxAge=WEEK, **both.salt()
    )
    chunks = [token[at : at + 3933] for at in range(0, len(token), 3933)]
    assert len(chunks) == 4
    cookie = "; ".join(f"{both.name}.{index}={chunk}" for index, chunk in enumerate(chunks))
    other = TestApp(both.pyramid.app, extra_environ=both.pyramid.extra_environ)
    answer = other.get("/session", headers={"Cookie": cookie})
    assert answer.json["error"] == "SessionInvalid"
    cleared = [each for each in answer.headers.getall("Set-Cookie") if "Max-Age=0" in each]
    assert [each.partition("=")[0] for each in cleared] == [f"{both.name}.{n}" for n in range(4)]


def test_pyramid_signs_out_a_nextjs_session_before_any_renewal(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend))
    held = both.header()
    both.pyramid.sign_out()
    assert both.session(held)["error"] == "SessionRevoked"


def test_a_rejected_renewal_ends_a_nextjs_session(both: Both) -> None:
    both.seal(claims_of_another_callback(both.backend))
    both.backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        assert "reason=RefreshTokenRejected" in both.account(status=303).location
    assert both.cookies() == {}


# The two applications of docs/nextjs.md, side by side.


TWO_HOSTS = {
    "secure": True,
    "name": "__Secure-example.session",
    "session__domain": "example.com",
    "hosts": ("www.example.com", "app.example.com"),
}


@pytest.mark.parametrize(
    "options",
    [{}, {"secure": True}, {"secure": True, "name": "__Host-authapp.session"}, TWO_HOSTS],
    ids=["http", "https", "authapp's own name", "two hosts"],
)
def test_sign_in_and_sign_out_on_one_side_apply_to_both(
    both_with: Callable[..., Both], options: Any
) -> None:
    both = both_with(**options)
    both.next_sign_in("bob")
    assert list(both.cookies()) == [both.name]
    assert "bob@example.com" in both.account(status=200)
    assert both.session()["user"]["roles"] == ["editor"]
    both.pyramid.sign_out()
    assert both.next_session() in ({}, None)

    both.pyramid.sign_in("alice")
    seen = both.next_session()
    assert seen["user"]["email"] == "alice@example.com"
    assert seen["user"]["roles"] == ["admin"]
    assert "error" not in seen
    assert "alice@example.com" in both.account(status=200)
    both.next_sign_out()
    assert both.cookies() == {}
    assert both.session()["user"] is None
    assert both.backend.calls[REFRESH] == 0


def test_a_session_in_chunks_has_the_domain_whichever_side_writes_it(
    both_with: Callable[..., Both],
) -> None:
    both = both_with(**TWO_HOSTS)

    def held() -> list[tuple[str, str]]:
        """Return the name and the domain of each session cookie. A name can occur with two
        domains."""
        jar = both.pyramid.cookiejar
        return sorted((each.name, each.domain) for each in jar if each.name.startswith(both.name))

    def begin(extra: int) -> None:
        both.next_sign_in()
        sealer = Sealer([NEW.encode()], FORMATS[both.side.version], both.name)
        session = sealer.open(both.cookies()[both.name]).to_claims()
        token = sealer.seal(Session.from_claims({**session, "more": "x" * extra}))
        cookie = SessionCookie(both.name, True, "example.com")
        answer = Answer("")
        for each in cookie.write(token, WEEK, [both.name]):
            answer.headers.add("Set-Cookie", each)
        jar, environ = both.pyramid.cookiejar, both.pyramid.extra_environ
        TestApp(answer, cookiejar=jar, extra_environ=environ).get("/")

    whole = [(both.name, ".example.com")]
    chunks = [(f"{both.name}.{number}", ".example.com") for number in (0, 1)]
    for extra, cookies in ((0, whole), (3000, chunks)):
        for sign_out in (both.pyramid.sign_out, both.next_sign_out):
            begin(extra)
            both.next_session()
            assert held() == cookies
            with later(EXPIRED):
                assert both.session()["user"]["id"] == 1
                assert held() == cookies
                sign_out()
                assert held() == []


def test_after_nextjs_sign_out_cookie_copies_work_until_a_renewal(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.next_sign_out()
    assert both.backend.calls[BLACKLIST] == 1
    for seconds in (0, 540):
        with later(seconds):
            assert both.session(held)["user"]["id"] == 1
    with later(660):
        assert both.session(held)["error"] == "RefreshTokenRejected"


def test_a_late_nextjs_response_does_not_undo_a_pyramid_sign_out(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.pyramid.sign_out()
    seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
    assert seen["user"]["id"] == 1
    assert both.cookies(), "Next.js has written the session again"
    assert both.session()["error"] == "SessionRevoked"
    assert both.cookies() == {}


def test_sign_out_everywhere_in_pyramid_ends_nextjs_sessions(both: Both) -> None:
    both.next_sign_in()
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    for seconds in (100, EXPIRED):
        with later(seconds):
            # Next.js writes the session with a new ``iat``, and renews the expired session.
            seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
            assert seen["user"]["id"] == 1
            assert "error" not in seen
            assert both.cookies()
            assert both.session()["error"] == "SessionRevoked"
            assert both.cookies() == {}
    assert both.backend.calls[REFRESH] == 1


def test_sign_out_everywhere_is_limited_without_auth_time(both: Both) -> None:
    """A sign-out everywhere ends a session without ``auth_time`` only until Next.js writes the
    session again. Then the user is signed in again. docs/nextjs.md names this limit."""
    both.seal(claims_of_another_callback(both.backend))
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    assert both.session(held)["error"] == "SessionRevoked"
    with later(100):
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.session()["user"]["id"] == 1


@pytest.mark.parametrize("extra", [0, 3000], ids=["single", "chunked"])
def test_each_side_accepts_a_renewal_by_the_other(both: Both, extra: int) -> None:
    both.next_sign_in()
    claims = both.claims()
    both.seal({**claims, "more": "x" * extra})
    if extra:
        both.next_session()  # Next.js writes the session in chunks
        assert list(both.cookies()) == [f"{both.name}.0", f"{both.name}.1"]
    spent = [claims["data"]["tokens"]["refresh"]]
    for number, visit in enumerate((both.next_session, both.account, both.next_session), 1):
        with later(number * EXPIRED):
            visit()
            assert both.session()["user"]["id"] == 1
            assert "error" not in both.next_session()
            assert both.backend.calls[REFRESH] == number
            claims = both.claims()
            spent.append(claims["data"]["tokens"]["refresh"])
            assert claims["more"] == "x" * extra
            assert len(both.cookies()) == (2 if extra else 1)
    assert len(set(spent)) == 4
    assert claims["data"]["sid"] == both.claims()["data"]["sid"]


def with_opaque_tokens(backend: Served, rotates: bool) -> list[str]:
    """Make the backend issue opaque refresh tokens.

    :returns: a list. Each refresh token that the backend receives is added to it.
    """
    got: list[str] = []

    def sign_in(request: Any) -> Answer:
        del backend.instead[LOGIN]
        tokens = tokens_of(backend)
        backend.instead[LOGIN] = sign_in
        return Answer(json_body={**tokens, "refresh": "opaque-0"})

    def refresh(request: Any) -> Answer:
        got.append(request.json_body["refresh"])
        del backend.instead[LOGIN]
        access = tokens_of(backend)["access"]
        backend.instead[LOGIN] = sign_in
        more = {"refresh": f"opaque-{len(got)}"} if rotates else {}
        return Answer(json_body={"access": access, **more})

    backend.instead |= {LOGIN: sign_in, REFRESH: refresh}
    return got


@pytest.mark.parametrize("rotates", [True, False])
def test_opaque_refresh_tokens_are_renewed_by_both_sides(both: Both, rotates: bool) -> None:
    got = with_opaque_tokens(both.backend, rotates)
    both.next_sign_in()
    first = both.claims()["data"]["validity"]
    assert first["refresh_until"] == pytest.approx(time.time() + WEEK, abs=10)
    with later(EXPIRED):
        assert "error" not in both.next_session()
        kept = both.claims()["data"]["validity"]["refresh_until"] == first["refresh_until"]
        assert kept is not rotates
    with later(2 * EXPIRED):
        assert both.session()["user"]["id"] == 1
    with later(3 * EXPIRED):
        assert "error" not in both.next_session()
    assert got == ["opaque-0"] + (["opaque-1", "opaque-2"] if rotates else ["opaque-0"] * 2)


def test_a_renewal_keeps_what_the_new_token_does_not_say(both: Both) -> None:
    claims = claims_of_another_callback(both.backend)
    parts = claims["data"]["tokens"]["access"].split(".")
    bare = {"user_id": 1, "exp": int(time.time()) + 2 * EXPIRED + 0.5}
    told = urlsafe_b64encode(json.dumps(bare).encode()).decode().rstrip("=")
    access = ".".join((parts[0], told, parts[2]))
    both.backend.instead[REFRESH] = Answer(json_body={"access": access, "refresh": "new"})
    both.seal({**claims, "data": {**claims["data"], "user": {"id": 1, "roles": ["kept"]}}})
    with later(EXPIRED):
        assert both.next_session()["user"]["roles"] == ["kept"]
        assert both.claims()["data"]["validity"]["valid_until"] == int(bare["exp"])


@pytest.mark.parametrize("answer", [Answer(status=200, body=b"<html>"), Answer(status=429)])
def test_a_renewal_without_tokens_keeps_the_session(both: Both, answer: Answer) -> None:
    both.next_sign_in()
    before = both.claims()["data"]
    both.backend.instead[REFRESH] = answer
    with later(EXPIRED):
        assert both.next_session()["error"] == "BackendUnavailable"
        assert both.claims()["data"] == before
        both.backend.instead.clear()
        assert "error" not in both.next_session()


def test_both_sides_keep_the_session_while_the_backend_is_down(both: Both) -> None:
    both.next_sign_in()
    both.backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED):
        assert both.next_session()["error"] == "BackendUnavailable"
        both.account(status=503)
        assert both.cookies()
        del both.backend.instead[REFRESH]
        assert "error" not in both.next_session()
        assert "alice@example.com" in both.account(status=200)


# Which side renews: the table of docs/nextjs.md.


def test_a_late_nextjs_response_is_harmless_if_only_pyramid_renews(
    both_with: Callable[..., Both],
) -> None:
    both = both_with(renews="1")
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        assert both.next_session()["error"] == "AccessTokenExpired"
        assert both.backend.calls[REFRESH] == 0
        assert both.session()["user"]["id"] == 1
        assert "error" not in both.next_session()
        new = both.claims()["data"]["tokens"]
        # This request was sent before the renewal, but its response arrives later.
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.claims()["data"]["tokens"] != new
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new
        assert both.backend.calls[REFRESH] == 1


@pytest.mark.parametrize("seconds", [DUE, (DUE + EXPIRED) // 2, EXPIRED - 60])
@pytest.mark.parametrize("pause", [1, 70, 600])
def test_old_cookie_that_nextjs_writes_again_does_not_end_the_session(
    both_with: Callable[..., Both], seconds: int, pause: int
) -> None:
    """Pyramid renews a due session. If a late response of Next.js then overwrites the new cookie
    with the old one, the session does not end."""
    both = both_with(renews="1")
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(seconds):
        both.account(status=200)
        new = both.claims()["data"]["tokens"]
        assert "error" not in both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert both.claims()["data"]["tokens"] != new
    with later(EXPIRED + pause):
        assert both.next_session()["error"] == "AccessTokenExpired"
        both.account(status=200)
        assert both.claims()["data"]["tokens"]["refresh"] != held
        assert "error" not in both.next_session()


def refuse_spent_tokens(backend: Served) -> None:
    """Make the backend refuse spent tokens as SimpleJWT does, without revoking newer tokens."""
    spent: set[str] = set()

    def answer(request: Any) -> Answer | None:
        token = request.json_body["refresh"]
        if token in spent:
            return Answer(status=401, json_body={"code": "token_not_valid"})
        spent.add(token)
        return None

    backend.instead[REFRESH] = answer


def test_pyramid_corrects_the_cookie_if_nextjs_spends_a_token_second(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.account(status=200)
        new = both.claims()["data"]["tokens"]
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new, "Pyramid has restored the new tokens"
        assert "error" not in both.next_session()


def test_the_user_is_signed_out_if_pyramid_spends_a_token_second(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        assert "error" not in both.next_session()
        new = both.header()
        answer = both.account(headers={"Cookie": held}, status=303)
        assert "reason=RefreshTokenRejected" in answer.location
        assert both.cookies() == {}
        assert both.session(new)["user"]["id"] == 1, (
            "the new session is valid if its response arrives last"
        )


def test_the_user_is_signed_out_if_nextjs_spends_a_token_twice(both: Both) -> None:
    refuse_spent_tokens(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        assert "reason=RefreshTokenRejected" in both.account(status=303).location


def test_reuse_ends_the_session_if_the_backend_ends_the_token_family(both: Both) -> None:
    """If a refresh token is spent twice, a backend may revoke all tokens of the session (RFC 9700
    section 4.14.2), as the embedded issuer does. Then the session ends."""
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        new = both.header()
        both.account(headers={"Cookie": held}, status=303)
        assert both.session(new)["user"]["id"] == 1
    with later(2 * EXPIRED):
        assert both.session(new)["error"] == "RefreshTokenRejected"


def test_tokens_kept_elsewhere_by_another_callback_are_moved(both: Both) -> None:
    tokens = tokens_of(both.backend)
    both.seal({"sub": "1", "accessToken": tokens["access"], "refreshToken": tokens["refresh"]})
    assert both.next_session()["user"]["id"] == 1
    assert both.session()["user"]["email"] == "alice@example.com"
    assert "accessToken" not in both.claims()
