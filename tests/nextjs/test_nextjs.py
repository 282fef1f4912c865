"""One cookie for Pyramid and Next.js: the real next-auth 4 and @auth/core on the other side."""

import json
import time
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
from nextjs_side import NextSide, install, write_scripts
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
EXPIRED, WEEK = 901, 604_800

later: Callable[[float], Any] = lambda seconds: time_machine.travel(time.time() + seconds)  # noqa: E731


class Sides(dict[tuple[int, bool, str], NextSide]):
    """Next.js applications by version, https or not, and cookie name; made when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, key: tuple[int, bool, str]) -> NextSide:
        version, secure, name = key
        url = "https://localhost" if secure else "http://localhost"
        self[key] = NextSide(
            self.folder,
            version,
            SESSION_SECRETS=f"{NEW} {OLD}",
            SESSION_COOKIE=name,
            NEXTAUTH_URL=url,
            AUTH_URL=url,
        )
        return self[key]


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    made = Sides(write_scripts(tmp_path_factory.mktemp("nextjs"), install()))
    yield made
    for side in made.values():
        side.close()


@pytest.fixture(params=FORMATS, ids=FORMATS.values())
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def packages(sides: Sides, version: int) -> NextSide:
    """The packages alone, for what is sealed and opened."""
    return sides[version, False, NAMES[version, False]]


class Both:
    """A browser, and the two applications that share its cookie."""

    def __init__(self, side: NextSide, backend: Served, secure: bool, name: str, **more: str):
        self.side, self.backend, self.name = side, backend, name
        ini = settings(backend.url, secret=NEW, session__format=FORMATS[side.version],
                       session__cookie=name, **more)  # fmt: skip
        if secure:
            ini |= {"authapp.development": "false", "authapp.backend.url": "https://x.example"}
        with Configurator(settings=ini) as config:
            config.include("authapp")
            # Production wants https of its backend; this one is real, and on http.
            config.set_auth_backend(HTTPBackend(BoundedSession(2), backend.url, description()))
            self.pyramid = Site(wsgi=config.make_wsgi_app())
        scheme, port = ("https", 443) if secure else ("http", 80)
        here = {"HTTP_HOST": f"localhost:{port}", "wsgi.url_scheme": scheme}
        self.pyramid.extra_environ = here
        self.nextjs = TestApp(side, cookiejar=self.pyramid.cookiejar, extra_environ=here)

    def cookies(self) -> dict[str, str]:
        """The session's cookie in the browser, or its chunks."""
        found = {cookie.name: cookie.value or "" for cookie in self.pyramid.cookiejar}
        return {name: found[name] for name in sorted(found) if name.startswith(self.name)}

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies().items())

    def claims(self) -> Any:
        """What the browser holds, as the real package opens it."""
        return self.side.ask("getToken", cookie=self.header(), cookieName=self.name, secret=NEW)

    def seal(self, claims: dict[str, Any]) -> None:
        """Put a session into the browser that the real package has sealed."""
        token = self.side.ask("encode", token=claims, secret=NEW, maxAge=WEEK, **self.salt())
        answer = Answer("", headers={"Set-Cookie": f"{self.name}={token}; Path=/"})
        jar, environ = self.pyramid.cookiejar, self.pyramid.extra_environ
        TestApp(answer, cookiejar=jar, extra_environ=environ).get("/")

    def salt(self) -> dict[str, str]:
        return {"salt": self.name} if self.side.version == 5 else {}

    def next_session(self) -> Any:
        """What a page of the Next.js side sees; this runs its ``jwt`` callback."""
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
        """What Pyramid says of the browser's session, or of a copy of a cookie."""
        if not held:
            return self.pyramid.get("/session").json
        other = TestApp(self.pyramid.app, extra_environ=self.pyramid.extra_environ)
        return other.get("/session", headers={"Cookie": held}).json


@pytest.fixture
def both_with(sides: Sides, version: int, backend: Served) -> Callable[..., Both]:
    def make(secure: bool = False, name: str = "", renews: str = "", **more: str) -> Both:
        name = name or NAMES[version, secure]
        side = sides[version, secure, name]
        side.environ = {"BACKEND_URL": backend.url, "PYRAMID_RENEWS": renews}
        return Both(side, backend, secure, name, **more)

    return make


@pytest.fixture
def both(both_with: Callable[..., Both]) -> Both:
    return both_with()


def tokens_of(backend: Served, name: str = "alice") -> dict[str, str]:
    fields = {"username": name, "password": f"{name}-password"}
    return requests.post(backend.url + LOGIN, json=fields, timeout=5).json()


def made_elsewhere(backend: Served, **more: Any) -> dict[str, Any]:
    """Claims of a session that another callback than the document's has made."""
    tokens = tokens_of(backend)
    until = {
        "valid_until": jwt_claims(tokens["access"])["exp"],
        "refresh_until": jwt_claims(tokens["refresh"])["exp"],
    }
    data = {"tokens": tokens, "user": {"id": 1, "theme": "dark"}, "validity": until, "cart": [7]}
    return {"sub": "1", "picture": "p.png", "data": data, **more}


# What is sealed on one side is opened on the other.


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
def test_sealed_here_and_opened_there(packages: NextSide, secure: bool, extra: int) -> None:
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
    # The names are the packages' own: none is given.
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=NEW) == claims
    assert packages.ask("getToken", cookie=cookie, secureCookie=not secure, secret=NEW) is None
    assert packages.ask("getToken", cookie=cookie, secureCookie=secure, secret=OLD) is None


@pytest.mark.parametrize("secure", [False, True])
def test_sealed_there_and_opened_here(packages: NextSide, secure: bool) -> None:
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


def test_several_secrets_there(packages: NextSide) -> None:
    """@auth/core takes a list; next-auth 4 is told how by the document."""
    name = NAMES[packages.version, False]
    secrets = {"secret": [NEW, OLD]} if packages.version == 5 else {}
    for secret in (NEW, OLD, "another secret, which neither side knows"):
        token = Sealer([secret.encode()], FORMATS[packages.version], name).seal(session_of())
        claims = packages.ask("getToken", cookie=f"{name}={token}", **secrets)
        assert (claims is not None) == (secret in (NEW, OLD))


def test_read_where_no_cookie_can_be_written(both: Both) -> None:
    if both.side.version == 4:
        both.pyramid.sign_in()
        cookie = both.header()
        assert both.side.ask("sessionOf", cookie=cookie)["data"]["user"]["id"] == 1
        assert both.side.ask("sessionOf", cookie="") is None
        with later(EXPIRED):
            assert both.side.ask("sessionOf", cookie=cookie) is None
        assert both.header() == cookie


def test_the_known_answers_of_unit_tests_are_the_packages(packages: NextSide) -> None:
    for each in json.loads(PEERS.read_text()):
        if each["format"] == FORMATS[packages.version]:
            salt = {"salt": each["cookie"]} if packages.version == 5 else {}
            claims = packages.ask("decode", token=each["token"], secret=each["secret"], **salt)
            assert claims["picture"] == "kept"


# A session that was made on the other side is a full session here.


def test_made_there_shown_renewed_and_revoked_here(both: Both) -> None:
    both.seal(made_elsewhere(both.backend, error="RefreshAccessTokenError"))
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
def test_what_another_callback_keeps_there_signs_nobody_out(both: Both, own: Any) -> None:
    claims = made_elsewhere(both.backend, error={"code": "RefreshAccessTokenError"}, name=["A"])
    both.seal({**claims, "data": {**claims["data"], **own}})
    both.account(status=200)
    held = both.header()
    assert both.next_session()["user"]
    with later(EXPIRED):
        assert both.session()["user"] == {"id": 1, "email": "alice@example.com", "roles": ["admin"]}
        assert "error" not in both.next_session()
        both.pyramid.sign_out()
        assert both.session(held)["error"] == "SessionRevoked"


def test_a_session_of_more_cookies_than_three_is_none_here(both: Both) -> None:
    claims = made_elsewhere(both.backend)
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


def test_made_there_and_signed_out_here_before_any_renewal(both: Both) -> None:
    both.seal(made_elsewhere(both.backend))
    held = both.header()
    both.pyramid.sign_out()
    assert both.session(held)["error"] == "SessionRevoked"


def test_made_there_and_ended_by_the_backend(both: Both) -> None:
    both.seal(made_elsewhere(both.backend))
    both.backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        assert "reason=RefreshTokenRejected" in both.account(status=303).location
    assert both.cookies() == {}


# The applications of the document, side by side.


@pytest.mark.parametrize(
    "options",
    [{}, {"secure": True}, {"secure": True, "name": "__Host-authapp.session"}],
    ids=["http", "https", "authapp's own name"],
)
def test_signed_in_on_one_side_is_signed_in_on_both(
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


def test_signed_out_there_its_copies_end_with_the_access_token(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.next_sign_out()
    assert both.backend.calls[BLACKLIST] == 1
    for seconds in (0, 599):
        with later(seconds):
            assert both.session(held)["user"]["id"] == 1
    with later(601):
        assert both.session(held)["error"] == "RefreshTokenRejected"


def test_signed_out_here_while_an_answer_there_is_under_way(both: Both) -> None:
    both.pyramid.sign_in()
    held = both.header()
    both.pyramid.sign_out()
    seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
    assert seen["user"]["id"] == 1
    assert both.cookies(), "it has put the session back"
    assert both.session()["error"] == "SessionRevoked"
    assert both.cookies() == {}


def test_signed_out_here_everywhere_reaches_what_began_there(both: Both) -> None:
    both.next_sign_in()
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    for seconds in (100, EXPIRED):
        with later(seconds):
            # Next.js writes it anew with a new ``iat``, and in the end renews it.
            seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
            assert seen["user"]["id"] == 1
            assert "error" not in seen
            assert both.cookies()
            assert both.session()["error"] == "SessionRevoked"
            assert both.cookies() == {}
    assert both.backend.calls[REFRESH] == 1


def test_signed_out_everywhere_and_nobody_knows_when_it_began(both: Both) -> None:
    """The limit that the document names: without ``auth_time`` there is ``iat`` only."""
    both.seal(made_elsewhere(both.backend))
    held = both.header()
    both.pyramid.reset()
    both.pyramid.sign_in()
    both.pyramid.sign_out(everywhere=True)
    assert both.session(held)["error"] == "SessionRevoked"
    with later(100):
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.session()["user"]["id"] == 1


@pytest.mark.parametrize("extra", [0, 3000], ids=["single", "chunked"])
def test_a_renewal_by_either_is_accepted_by_the_other(both: Both, extra: int) -> None:
    both.next_sign_in()
    claims = both.claims()
    both.seal({**claims, "more": "x" * extra})
    if extra:
        both.next_session()  # writes it in chunks
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


def test_the_backend_is_away_for_both(both: Both) -> None:
    both.next_sign_in()
    both.backend.instead[REFRESH] = Answer(status=503)
    with later(EXPIRED):
        assert both.next_session()["error"] == "BackendUnavailable"
        both.account(status=503)
        assert both.cookies()
        del both.backend.instead[REFRESH]
        assert "error" not in both.next_session()
        assert "alice@example.com" in both.account(status=200)


# Who renews: the document's table.


def test_pyramid_renews_and_what_nextjs_writes_late_does_no_harm(
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
        # It was under way meanwhile.
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert both.claims()["data"]["tokens"] != new
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new
        assert both.backend.calls[REFRESH] == 1


def spend_once(backend: Served) -> None:
    """As SimpleJWT: a spent token is refused, and the others of its family live on."""
    spent: set[str] = set()

    def answer(request: Any) -> Answer | None:
        token = request.json_body["refresh"]
        if token in spent:
            return Answer(status=401, json_body={"code": "token_not_valid"})
        spent.add(token)
        return None

    backend.instead[REFRESH] = answer


def test_both_spend_one_token_and_nextjs_comes_second(both: Both) -> None:
    spend_once(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.account(status=200)
        new = both.claims()["data"]["tokens"]
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        both.account(status=200)
        assert both.claims()["data"]["tokens"] == new, "Pyramid has put it right"
        assert "error" not in both.next_session()


def test_what_pyramid_does_not_remember_any_more(both_with: Callable[..., Both]) -> None:
    both = both_with(refresh__reuse="0")
    spend_once(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.account(status=200)
        both.nextjs.get("/api/auth/session", headers={"Cookie": held})
        assert "reason=RefreshTokenRejected" in both.account(status=303).location


def test_both_spend_one_token_and_pyramid_comes_second(both: Both) -> None:
    spend_once(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        assert "error" not in both.next_session()
        new = both.header()
        answer = both.account(headers={"Cookie": held}, status=303)
        assert "reason=RefreshTokenRejected" in answer.location
        assert both.cookies() == {}
        assert both.session(new)["user"]["id"] == 1, "it holds, if its answer comes last"


def test_nextjs_spends_one_token_twice(both: Both) -> None:
    spend_once(both.backend)
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        seen = both.nextjs.get("/api/auth/session", headers={"Cookie": held}).json
        assert seen["error"] == "RefreshTokenRejected"
        assert "reason=RefreshTokenRejected" in both.account(status=303).location


def test_a_backend_that_ends_the_family(both: Both) -> None:
    """RFC 9700 section 4.14.2, as the embedded issuer."""
    both.next_sign_in()
    held = both.header()
    with later(EXPIRED):
        both.next_session()
        new = both.header()
        both.account(headers={"Cookie": held}, status=303)
        assert both.session(new)["user"]["id"] == 1
    with later(2 * EXPIRED):
        assert both.session(new)["error"] == "RefreshTokenRejected"


def test_moved_from_a_callback_that_kept_its_tokens_elsewhere(both: Both) -> None:
    tokens = tokens_of(both.backend)
    both.seal({"sub": "1", "accessToken": tokens["access"], "refreshToken": tokens["refresh"]})
    assert both.next_session()["user"]["id"] == 1
    assert both.session()["user"]["email"] == "alice@example.com"
    assert "accessToken" not in both.claims()
