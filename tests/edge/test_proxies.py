"""nginx and Caddy protect an application with the configurations of docs/edge.md."""

import http.client
import json
from collections.abc import Iterator

import pytest
import requests
from webob import Response

from edge.proxies import COOKIE, PUBLIC, Browser, Proxied
from eventually import eventually
from load import burst
from servers import REFRESH

pytestmark = pytest.mark.servers

IDENTITY = ("USER", "EMAIL", "PREFERRED_USERNAME", "GROUPS", "ACCESS_TOKEN")
FORGED = ("X-Auth-Request-User", "X-Auth-Request-Groups", "X-Auth-Request-Access-Token")


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    running = Proxied(tmp_path_factory.mktemp(request.param), request.param)
    yield running
    running.close()


@pytest.fixture
def browser(proxied: Proxied) -> Iterator[Browser]:
    with Browser(proxied) as browser:
        yield browser


def identity(answer: requests.Response) -> dict[str, str]:
    """Return the headers that told the application who the user is."""
    assert answer.status_code == 200, answer.text
    told = json.loads(answer.text)
    return {name: told.get(f"HTTP_X_AUTH_REQUEST_{name}", "") for name in IDENTITY}


ALICE = {
    "USER": "1",
    "EMAIL": "alice@example.com",
    "PREFERRED_USERNAME": "alice",
    "GROUPS": "admin",
    "ACCESS_TOKEN": "",
}


def test_sign_in_leads_to_the_application_and_to_the_files(browser: Browser) -> None:
    answer = browser.sign_in("alice", "/docs/page.txt?a=1&b=2")
    assert answer.headers["Location"] == "/docs/page.txt?a=1&b=2"
    assert browser.open("/docs/page.txt").text == "a static page"
    told = browser.open("/anything?x=1")
    assert identity(told) == ALICE
    assert told.headers["X-App"] == "here"


def test_visitors_get_neither_pages_nor_files(browser: Browser) -> None:
    for path in ("/", "/docs/page.txt", "/docs/../docs/page.txt", "/admin/x", "//docs/page.txt"):
        answer = browser.open(path)
        assert (answer.status_code, "X-App" in answer.headers) == (303, False)
        assert "static page" not in answer.text


def test_roles_decide(browser: Browser) -> None:
    browser.sign_in("bob")
    assert identity(browser.open("/"))["GROUPS"] == "editor"
    answer = browser.open("/admin/x")
    assert (answer.status_code, "X-App" in answer.headers) == (403, False)
    browser.cookies.clear()
    browser.sign_in("alice")
    assert identity(browser.open("/admin/x")) == ALICE


@pytest.mark.parametrize("padding", [0, 4_000])
@pytest.mark.parametrize("path", ["/", "/?status=404", "/?status=500", "/docs/page.txt", "/docs/x"])
def test_a_renewed_cookie_arrives_whole_with_any_answer(
    browser: Browser, path: str, padding: int
) -> None:
    browser.sign_in("alice")
    before = browser.expire(padding)
    answer = browser.open(path)
    assert answer.status_code in (200, 404, 500)
    after = browser.session()
    assert after.sid == before.sid
    assert after.tokens.refresh != before.tokens.refresh
    assert len(browser.token()) > padding
    assert "no-store" in answer.headers.get("Cache-Control", "no-store")
    if "X-App" in answer.headers:
        assert browser.cookies["app"] == "1"  # the application's own cookie arrives too
    assert identity(browser.open("/"))["USER"] == "1"


@pytest.mark.parametrize("path", ["/?public", "/docs/page.txt"])
def test_c15_a_renewed_cookie_is_not_cacheable(browser: Browser, path: str) -> None:
    browser.sign_in("alice")
    browser.expire()
    answer = browser.open(path)
    assert COOKIE in answer.headers["Set-Cookie"]
    assert answer.headers["Cache-Control"].endswith("private, no-store")
    assert not {name for name, _ in PUBLIC[1:]} & answer.headers.keys()
    later = browser.open("/?public")
    assert later.headers["Cache-Control"] == "public, max-age=60"
    assert later.headers["Set-Cookie"] == "app=1"


def test_a_renewed_cookie_arrives_with_403_and_with_chunks_that_are_not_used_any_more(
    browser: Browser,
) -> None:
    browser.sign_in("bob")
    small = browser.session()
    browser.expire(5_000)
    assert browser.open("/admin/x").status_code == 403
    renewed = browser.session()
    assert renewed.tokens.refresh != small.tokens.refresh
    chunks = {name: each for name, each in browser.cookies.items() if each}
    browser.expire()
    for number in range(3):
        chunk = chunks.get(f"{COOKIE}.{number}")
        browser.cookies.set(f"{COOKIE}.{number}", chunk, domain="127.0.0.1", path="/")
    assert browser.open("/").status_code == 200
    held = {each.name for each in browser.cookies if each.name.startswith(COOKIE) and each.value}
    assert held == {COOKIE}


def test_scripts_cannot_read_the_cookie(browser: Browser) -> None:
    browser.sign_in("bob")
    browser.expire()
    for path in ("/admin/x", "/", "/_verify", "/verify?cookies=1"):
        answer = browser.open(path, Sec__Fetch__Mode="cors", Sec__Fetch__Site="same-origin")
        for name, value in answer.headers.items():
            assert "set-cookie-" not in name.lower() or value == ""
        assert "HTTP_X_AUTH_REQUEST_SET_COOKIE" not in answer.text


def test_sign_out_is_seen_by_all(proxied: Proxied, browser: Browser) -> None:
    browser.sign_in("alice")
    cookie = {"Cookie": f"{COOKIE}={browser.token()}"}
    with Browser(proxied) as copy:
        assert copy.open("/", **cookie).status_code == 200
        token = browser.get(browser.url + "/session", timeout=20).json()["csrf_token"]
        fields = {"csrf_token": token}
        browser.post(browser.url + "/logout", fields, allow_redirects=False, timeout=20)
        for path in ("/", "/docs/page.txt"):
            answer = copy.open(path, **cookie)
            copy.cookies.clear()
            assert answer.status_code == 303
            assert answer.headers["Location"].endswith("reason=SessionRevoked")


def test_pages_of_authapp_learn_that_the_session_was_ended_elsewhere(browser: Browser) -> None:
    browser.sign_in("alice")
    told = browser.get(browser.url + "/session/ended", allow_redirects=False, timeout=20)
    assert told.json()["ended"] is False


def test_forged_identities_do_not_pass(browser: Browser) -> None:
    forged = dict.fromkeys(FORGED, "evil")
    assert browser.open("/", **forged).status_code == 303
    browser.sign_in("carol")
    told = browser.open("/", **forged)
    assert identity(told) == {
        "USER": "3",
        "EMAIL": "carol@example.com",
        "PREFERRED_USERNAME": "carol",
        "GROUPS": "",
        "ACCESS_TOKEN": "",
    }
    assert "evil" not in told.text


@pytest.mark.parametrize(
    "name", ["X_Auth_Request_Groups", "X-Auth_Request-Groups", "x_auth-request_user"]
)
def test_underscore_names_do_not_pass(proxied: Proxied, browser: Browser, name: str) -> None:
    browser.sign_in("carol")
    cookie = ("Cookie", f"{COOKIE}={browser.token()}")
    status, body = raw(proxied, "/", cookie, (name, "evil"))
    assert status == (200 if proxied.program == "nginx" else 403)  # dropped, or refused
    assert "evil" not in body


@pytest.mark.parametrize(
    "name",
    [
        *("Remote-User", "remote-groups", "REMOTE-EMAIL", "X-Remote-User", "X-WEBAUTH-USER"),
        *("X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "X-Original-User"),
        *("X-Auth-Request-Roles", "X-Auth-Request-Redirect", "X-Auth-Request-Set-Cookie-1"),
        *("Remote_User", "X_Webauth_User", "X_Auth.Request-User", "X-Forwarded_User"),
        *("X.Auth.Request.Groups", "X-Auth.Request-Groups", "X^Auth-Request-User", "Remote.User"),
    ],
)
def test_no_header_that_names_the_user_reaches_the_application(
    proxied: Proxied, browser: Browser, name: str
) -> None:
    assert "HTTP_" not in raw(proxied, "/", (name, "evil"))[1]
    browser.sign_in("carol")
    cookie = ("Cookie", f"{COOKIE}={browser.token()}")
    status, body = raw(proxied, "/", cookie, (name, "evil"))
    assert "evil" not in body
    assert status in (200, 403)
    if status == 200:  # nginx has dropped the header
        assert json.loads(body)["HTTP_X_AUTH_REQUEST_USER"] == "3"


def test_headers_of_a_proxy_further_out_are_not_refused(proxied: Proxied, browser: Browser) -> None:
    browser.sign_in("carol")
    names = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "Via")
    headers = [(name, "192.0.2.1") for name in (*names, "Forwarded", "CF-Connecting-IP")]
    cookie = ("Cookie", f"{COOKIE}={browser.token()}")
    status, body = raw(proxied, "/", cookie, *headers)
    assert status == 200
    assert json.loads(body).get("HTTP_X_REAL_IP") != "192.0.2.1"


def raw(proxied: Proxied, target: str, *headers: tuple[str, str]) -> tuple[int, str]:
    """Send a request without changing its path and headers. Return the status and the body."""
    connection = http.client.HTTPConnection(proxied.url.removeprefix("http://"), timeout=20)
    connection.putrequest("GET", target, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    "target",
    [
        "/admin/x",
        "//admin/x",
        "/%61dmin/x",
        "/admin%2Fx",
        "/x/../admin/x",
        "/x/%2e%2e/admin/x",
        "/./admin/x",
        "/admin/x?/login",
        "/admin/x%23/login",
        "/login/../admin/x",
        "/authapp-static/..%2fadmin/x",
    ],
)
def test_no_spelling_of_a_path_avoids_the_question(
    proxied: Proxied, browser: Browser, target: str
) -> None:
    assert "HTTP_" not in raw(proxied, target)[1]
    browser.sign_in("carol")
    cookie = ("Cookie", f"{COOKIE}={browser.token()}")
    assert raw(proxied, target, cookie)[0] in (400, 403, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URL": "https://evil.example/x"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Uri": "https://evil.example/x"},
        {"X-Forwarded-Method": "POST"},
        {"X-Forwarded-Proto": "javascript"},
        {"X-Original-Method": "POST"},
    ],
)
def test_forged_addresses_change_nothing(browser: Browser, headers: dict[str, str]) -> None:
    answer = browser.open("/page", **headers)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/login?next=%2Fpage"


def test_no_identity_can_be_removed_on_the_way(proxied: Proxied, browser: Browser) -> None:
    browser.sign_in("carol")
    cookie = ("Cookie", f"{COOKIE}={browser.token()}")
    named = ("Connection", "close, X-Auth-Request-User, X-Auth-Request-Groups")
    status, body = raw(proxied, "/", cookie, named)
    assert status in (303, 400) or json.loads(body)["HTTP_X_AUTH_REQUEST_USER"] == "3"


def test_forged_hosts_are_no_way_back(browser: Browser) -> None:
    answer = browser.open("/page", Host="evil.example")
    assert "evil" not in answer.headers.get("Location", "")
    assert "X-App" not in answer.headers


def test_programs_are_told_where_to_sign_in(proxied: Proxied, browser: Browser) -> None:
    answer = browser.open("/api", Accept="application/json")
    assert answer.status_code == (303 if proxied.program == "nginx" else 401)
    assert answer.headers["Location"].startswith("/login")


def test_nobody_is_signed_out_while_the_backend_is_down(proxied: Proxied, browser: Browser) -> None:
    browser.sign_in("alice")
    before = browser.expire()
    proxied.backend.instead[REFRESH] = Response(status=503)
    try:
        answer = browser.open("/")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert browser.session().tokens == before.tokens
    finally:
        del proxied.backend.instead[REFRESH]
    eventually(lambda: browser.open("/").status_code == 200)
    assert browser.session().sid == before.sid


def test_many_requests_behind_the_proxy_renew_once(proxied: Proxied, browser: Browser) -> None:
    browser.sign_in("alice")
    browser.expire()
    renewals = proxied.backend.calls[REFRESH]
    answers = burst([(f"{proxied.url}/", f"{COOKIE}={browser.token()}")] * 40)
    assert {each.status for each in answers} == {200}
    assert proxied.backend.calls[REFRESH] == renewals + 1
    assert len({each.cookie(COOKIE) for each in answers} - {None}) >= 1
