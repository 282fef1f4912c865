"""Which requests ``authapp.proxy`` passes on to an API, what the API gets, and which settings stop
the start (contract section 11)."""

import pytest
from pyramid.config import Configurator
from pyramid.response import Response as PyramidResponse
from webob import Request, Response

import authapp
from authapp.settings.ini import SettingsError
from edge import proxied_api
from edge.proxied_api import Signed
from servers import Served
from site_under_test import COOKIE, Site, settings

# The fixtures of these tests.
api, site = proxied_api.api, proxied_api.site


def test_a_request_goes_to_the_api_with_the_users_token(site: Signed, api: Served) -> None:
    answer = site.get("/api/orders?open=1&x=%20a%2Fb", headers={"Accept-Language": "de"})
    got = answer.json
    assert (got["method"], got["path"]) == ("GET", "/v1/orders?open=1&x=%20a%2Fb")
    assert got["headers"]["Authorization"] == f"Bearer {site.opened().tokens.access}"
    assert got["headers"]["Accept-Language"] == "de"
    assert got["headers"]["Host"] == api.url.removeprefix("http://")
    assert got["headers"]["X-Request-Id"]
    assert "User-Agent" not in got["headers"]
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        *("X.Auth.Request.User", "Remote.User", "X^Auth^Request^Groups", "X-Auth_Request-User"),
        *("X.Forwarded.For", "X_Forwarded_User", "X~Real~IP", "True.Client.IP", "x.csrf-token"),
        *("X-Original-URL", "X.Remote.Group", "X|Webauth|User", "X-Authentik-Username"),
        *("X-Vouch-User", "X-Authenticated-Userid", "X-Proxy-User", "Transfer.Encoding"),
        *("Remote-Addr", "X-Auth-Request-User\xe9", "Cf_Connecting.Ip"),
    ],
)
def test_no_spelling_of_who_and_where_the_user_is_reaches_the_api(site: Signed, name: str) -> None:
    environ = {"HTTP_" + name.upper().replace("-", "_"): "evil", "HTTP_X.Y": "passed on"}
    got = site.get("/api/x", extra_environ=environ).json["headers"]
    assert "evil" not in str(got)
    assert got["X.Y"] == "passed on"


def test_what_the_browser_must_not_tell_is_not_sent(site: Signed) -> None:
    headers = {
        "Connection": "close, X-Private, Authorization",
        "X-Private": "evil",
        "TE": "trailers",
        "Proxy-Authorization": "evil",
        "X-Auth-Request-User": "evil",
        "X-Forwarded-For": "evil",
        "X-Forwarded-User": "evil",
        "X-Real-IP": "evil",
        "Remote-User": "evil",
        "Remote-Groups": "evil",
        "X-Remote-Group": "evil",
        "X-Remote-Extra-Scopes": "evil",
        "X-Webauth-User": "evil",
        "True-Client-IP": "evil",
        "X-Client-IP": "evil",
        "Forwarded": "for=evil",
        "Authorization": "Basic evil",
        "Upgrade": "h2c-evil",
    }
    got = site.get("/api/x", headers=headers).json["headers"]
    assert "evil" not in str(got)
    assert got["Authorization"].startswith("Bearer ey")
    assert "Cookie" not in got


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_unsafe_methods_need_the_csrf_token(site: Signed, api: Served, method: str) -> None:
    for headers in ({}, {"X-CSRF-Token": "wrong"}):
        answer = site.request("/api/x", method=method, headers=headers, status=403)
        assert answer.json["code"] == "BadCSRFToken"
    evil = site.csrf_header | {"Origin": "https://evil.example"}
    site.request("/api/x", method=method, headers=evil, status=403)
    assert api.calls["/v1/x"] == 0
    got = site.request("/api/x", method=method, headers=site.csrf_header, body=b"\x00\xff").json
    assert (got["method"], got["body"]) == (method, "\x00\xff")
    assert "X-Csrf-Token" not in got["headers"]


def test_a_form_field_is_no_csrf_token(site: Signed) -> None:
    token = site.csrf_header["X-CSRF-Token"]
    site.post("/api/x", {"csrf_token": token}, status=403)


def test_options_head_and_empty_bodies(site: Signed, api: Served) -> None:
    assert site.options("/api/x").json["method"] == "OPTIONS"
    answer = site.head("/api/x")
    assert (answer.body, int(answer.headers["Content-Length"]) > 10) == (b"", True)
    got = site.post("/api/x", "", headers=site.csrf_header).json
    assert got["headers"]["Content-Length"] == "0"
    api.instead["/v1/none"] = Response(status=204)
    assert site.get("/api/none", status=204).body == b""


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ("/api", "/v1"),
        ("/api/", "/v1/"),
        ("/api/a%2Fb", "/v1/a%2Fb"),
        ("/api/%61", "/v1/%61"),
        ("/api/a//b", "/v1/a//b"),
        ("/api/%25", "/v1/%25"),
        ("/api/%C3%A9", "/v1/%C3%A9"),
        ("/api/a%3Fb%23c", "/v1/a%3Fb%23c"),
        ("/%61pi/a%2Fb", "/v1/a/b"),
        ("/api/%252e%252e/x", "/v1/%252e%252e/x"),
        ("/api/x?a=<b>&%zz", "/v1/x?a=%3Cb%3E&%25zz"),
    ],
)
def test_the_path_reaches_the_api_as_it_was_sent(site: Signed, sent: str, got: str) -> None:
    environ = {"REQUEST_URI": sent}
    assert site.get(sent, extra_environ=environ).json["path"] == got


def test_servers_that_do_not_give_the_path_as_it_was_sent(site: Signed) -> None:
    assert site.get("/api/100%25/%C3%A9").json["path"] == "/v1/100%25/%C3%A9"


@pytest.mark.parametrize(
    "path",
    [
        "/api/..",
        "/api/../x",
        "/api/%2e%2e/x",
        "/api/a/.%2e/x",
        "/api/..%2Fx",
        "/api/..%5Cx",
        "/api/..;/x",
        "/api/./x",
        "/api/..%00/x",
        "/api/..%00x/y",
        "/api/%00../x",
        "/api/.%00./x",
        "/api/%20.%09.%1f%20/x",
        "/api/..%7f",
        "/api/..%c2%a0/x",
        "/api/..%c2%85;/x",
        "/api/.%e2%80%8b./x",
        "/api/a%00/..%0a",
        "/api/..%3fx",
        "/api/..%23",
        "/api/%ef%bc%8e%ef%bc%8e/x",
        "/api/%e2%80%a5/x",
        "/api/a%ef%bc%8f..%ef%bc%bcx",
    ],
)
def test_no_path_leads_out_of_the_api(site: Signed, api: Served, path: str) -> None:
    assert site.get(path, status="*").status_int in (400, 404)
    assert sum(api.calls.values()) == 0


@pytest.mark.parametrize("name", ["...", "..x", ".x", "x..", ". x", "%2e%2e%e6%96%87", "a%00..b"])
def test_names_with_dots_reach_the_api(site: Signed, name: str) -> None:
    assert site.get(f"/api/{name}/y").json["path"].startswith("/v1/")


def test_other_paths_are_not_passed_on(site: Signed) -> None:
    site.get("/apix", status=404)


def test_the_longest_prefix_is_used_and_the_applications_own_paths_stay_its_own(
    backend: Served, api: Served
) -> None:
    lines = f"\n /api = {api.url}/one\n /api/two = {api.url}/two/\n"
    with Configurator(settings=settings(backend.url, proxy=lines)) as config:
        config.add_route("mine", "/api/mine")
        config.add_view(lambda request: PyramidResponse("mine"), route_name="mine")
        config.include("authapp", route_prefix="/at")
        site = Site(wsgi=config.make_wsgi_app())
    form = site.get("/at/login").form
    form["username"], form["password"] = "alice", "alice-password"
    form.submit()
    assert site.get("/at/api/x").json["path"] == "/one/x"
    assert site.get("/at/api/two/x").json["path"] == "/two/x"
    assert site.get("/api/mine").text == "mine"


def test_visitors_are_refused(backend: Served, api: Served) -> None:
    site = Site(backend.url, proxy=f"/api = {api.url}")
    answer = site.get("/api/x", headers={"Accept": "application/json"}, status=401)
    assert answer.json["code"] == "SignInRequired"
    page = site.get("/api/x", headers={"Accept": "text/html"}, status=303)
    assert page.headers["Location"] == "/login?next=%2Fapi%2Fx"
    assert not api.calls


def test_websockets_are_refused_with_a_sentence(site: Signed, api: Served) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = site.get("/api/socket", headers=headers, status=501)
    assert answer.json["code"] == "UpgradeNotSupported"
    assert "WebSockets" in answer.json["detail"]
    assert not api.calls


def test_a_body_of_unknown_length_is_refused(site: Signed, api: Served) -> None:
    environ = {"HTTP_TRANSFER_ENCODING": "chunked"}
    asked = Request.blank("/api/x", method="POST", headers=site.csrf_header | site.cookie_header())
    asked.environ.pop("CONTENT_LENGTH", None)
    asked.environ |= environ
    assert asked.get_response(site.app).status_int == 411


def test_trace_would_show_the_token(site: Signed, api: Served) -> None:
    site.request("/api/x", method="TRACE", status=405)
    assert not api.calls


def test_a_token_or_a_header_that_cannot_be_sent(site: Signed, api: Served) -> None:
    answer = site.get("/api/x", extra_environ={"HTTP_X_ODD": "a\nb"}, status=400)
    assert answer.json["code"] == "BadRequest"
    session = site.opened().to_claims()
    session["data"]["tokens"]["access"] = "two\nlines"
    token = site.services.sealer.seal(authapp.Session.from_claims(session))
    answer = site.get("/api/x", headers={"Cookie": f"{COOKIE}={token}"}, status=503)
    assert "lines" not in answer.text
    assert not api.calls


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "proxy",
            "api = https://a.example",
            "must be lines such as /api = https://api.example.com",
        ),
        ("proxy", "/api = nothing", "must be lines such as /api"),
        ("proxy", "/api/../x = https://a.example", "must be lines such as /api"),
        ("proxy", "/ = https://a.example", "must be lines such as /api"),
        ("proxy", "/a = https://a.example\n/a = https://b.example", "two lines have the prefix /a"),
        ("proxy.timeout", "5", "has no effect without authapp.proxy"),
        ("proxy.bulkhead", "5", "has no effect without authapp.proxy"),
    ],
)
def test_impossible_settings_stop_the_start(key: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        authapp.main({}, **settings("http://127.0.0.1:9"), **{f"authapp.{key}": value})
    assert problem in str(error.value)


def test_http_is_for_private_networks_only() -> None:
    ini = settings("https://a.example", development="false", proxy="/api = http://a.example")
    with pytest.raises(SettingsError, match="must use https"):
        authapp.main({}, **ini)
    authapp.main({}, **ini, **{"authapp.backend.private_network": "true"})
