"""``authapp.proxy`` passes requests on to an API (contract section 11)."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.events import NewResponse
from pyramid.response import Response as PyramidResponse
from webob import Request, Response

import authapp
from authapp.edge.bulkhead import ProxyBulkhead, ProxyBulkheadFull
from authapp.settings.ini import SettingsError
from eventually import eventually
from servers import REFRESH, Served, Servers
from site_under_test import COOKIE, Site, application, settings

PROBLEM = "application/problem+json"


def echo(request: Request) -> Response:
    """The response of the API: the request that it got, as JSON."""
    response = Response(content_type="application/json")
    response.json_body = {
        "method": request.method,
        "path": request.environ["REQUEST_URI"],
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
    }
    return response


@pytest.fixture
def api(servers: Servers) -> Iterator[Served]:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        return echo(Request(environ))(environ, start_response)

    with servers.serve(application) as served:
        yield served


class Signed(Site):
    """A site that passes requests on to an API. alice is signed in."""

    def __init__(self, backend: Served, url: str, **keys: str) -> None:
        super().__init__(backend.url, proxy=f"/api = {url}", **keys)
        self.sign_in("alice")
        self.csrf_header = {"X-CSRF-Token": self.csrf()}


@pytest.fixture
def site(backend: Served, api: Served) -> Signed:
    return Signed(backend, f"{api.url}/v1")


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


def test_ranges_and_conditions_are_the_apis(site: Signed, api: Served) -> None:
    def ranged(request: Request) -> Response:
        response = Response(b"0123456789", etag="one", accept_ranges="bytes")
        response.conditional_response = True
        return response

    api.instead["/v1/file"] = ranged
    answer = site.get("/api/file", headers={"Range": "bytes=2-4"}, status=206)
    assert (answer.body, answer.headers["Content-Range"]) == (b"234", "bytes 2-4/10")
    answer = site.get("/api/file", headers={"If-None-Match": '"one"'}, status=304)
    assert answer.body == b""


def test_a_compressed_answer_stays_compressed(site: Signed, api: Served) -> None:
    packed = Response(b"some text" * 100)
    packed.encode_content("gzip")
    api.instead["/v1/x"] = packed
    asked = Request.blank("/api/x", headers={"Accept-Encoding": "gzip"} | site.cookie_header())
    answer = asked.get_response(site.app)  # WebTest would unpack it
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body == packed.body


MORE_OF_THE_SITE = [
    "X-Accel-Expires",
    "X-Sendfile2",
    "X-Sendfile-Temporary",
    "X-Send-File",
    "X-LIGHTTPD-send-file",
    "X-Lighttpd-Send-Tempfile",
    "X-LiteSpeed-Location",
    "X-LiteSpeed-Purge",
    "X-Reproxy-URL",
    "X-REPROXY-FILE",
    "X_Sendfile",
    "X-Accel_Redirect",
    "X-AppEngine-BlobKey",
    "X-Envoy-Immediate-Health-Check-Fail",
    "X-Do-ESI",
    "X-Hiawatha-Cache",
    "X-Offload",
    "Edge-Control",
    "Cloudflare-CDN-Cache-Control",
    "X-LiteSpeed-Cache-Control",
    "Surrogate-Key",
    "Cache-Tag",
    "Set-Login",
    "Expect-CT",
    "Public-Key-Pins",
    "Public-Key-Pins-Report-Only",
    "Accept-CH",
    "Sec-Session-Registration",
    "Origin-Agent-Cluster",
    "Use-As-Dictionary",
]


def test_what_the_api_must_not_decide_is_dropped(site: Signed, api: Served) -> None:
    headers = [
        ("Set-Cookie", f"{COOKIE}=evil"),
        ("Set-Cookie", "other=evil"),
        ("Clear-Site-Data", '"cookies"'),
        ("Access-Control-Allow-Origin", "https://evil.example"),
        ("Strict-Transport-Security", "max-age=0"),
        ("X-Auth-Request-User", "evil"),
        ("X-Accel-Redirect", "/private/evil"),
        ("X-Sendfile", "/etc/evil"),
        ("NEL", "evil"),
        ("Report-To", "evil"),
        ("CDN-Cache-Control", "max-age=60"),
        ("Surrogate-Control", "max-age=60"),
        ("Cloudflare-CDN-Cache-Control", "max-age=60"),
        ("Edge-Control", "cache-maxage=60"),
        *((name, "evil") for name in MORE_OF_THE_SITE),
        ("X-Rate-Limit", "7"),
        ("Cache-Control", "private, max-age=60"),
        ("WWW-Authenticate", "Bearer"),
    ]
    api.instead["/v1/x"] = Response(
        b"", headerlist=[*headers, ("Content-Length", "0"), ("Content-Type", "a/b")]
    )
    answer = site.get("/api/x")
    names = {name.lower() for name in answer.headers}
    assert not names & {name.lower() for name, _ in headers[:-3]}
    assert answer.headers["X-Rate-Limit"] == "7"
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    assert "Cookie" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("said", "here"),
    [
        (["max-age=60"], "private, max-age=60"),
        (
            ["no-cache", "max-age=60, must-revalidate"],
            "private, no-cache, max-age=60, must-revalidate",
        ),
        (['private="X-Name", max-age=60'], 'private, private="X-Name", max-age=60'),
        (["max-age=60, private-x"], "private, max-age=60, private-x"),
        (['max-age=60, x="a, public"'], 'private, max-age=60, x="a, public"'),
        (["max-age=60, Private"], "max-age=60, Private"),
        (["no-store"], "no-store"),
        (["Public, max-age=60"], "Public, max-age=60"),
        (["max-age=1,s-maxage=60"], "max-age=1,s-maxage=60"),
    ],
)
def test_shared_caches_store_only_what_the_api_says_is_for_all(
    site: Signed, api: Served, said: list[str], here: str
) -> None:
    headers = [("Content-Type", "a/b"), *(("Cache-Control", each) for each in said)]
    api.instead["/v1/x"] = Response(b"", headerlist=[*headers, ("Content-Length", "0")])
    assert site.get("/api/x").headers.getall("Cache-Control") == [here]


@pytest.mark.parametrize(
    ("location", "here"),
    [
        ("{url}/v1/next?a=1", "/api/next?a=1"),
        ("/v1/next", "/api/next"),
        ("next", "next"),
        ("?page=2", "?page=2"),
        ("/v10/next", "/v10/next"),
        ("//evil.example/v1/", "//evil.example/v1/"),
        ("https://other.example/v1/x", "https://other.example/v1/x"),
    ],
)
def test_redirects_of_the_api_stay_on_this_site(
    site: Signed, api: Served, location: str, here: str
) -> None:
    def redirect(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(
            "302 Found", [("Content-Type", "a/b"), ("Location", location.format(url=api.url))]
        )
        return [b""]

    api.application = redirect
    answer = site.get("/api/x", status=302)
    assert dict(answer.headerlist)["Location"] == here


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


def refuse_first(api: Served, token: str) -> None:
    """Make the API return 401 to requests with this access token."""

    def answer(request: Request) -> Response | None:
        if request.headers["Authorization"] == f"Bearer {token}":
            return Response(json_body={"from": "the API"}, status=401)
        return None

    api.instead["/v1/x"] = answer


def test_a_401_of_the_api_renews_once_and_repeats(
    site: Signed, backend: Served, api: Served
) -> None:
    before = site.opened()
    refuse_first(api, before.tokens.access)
    got = site.post("/api/x", b"the body" * 1000, headers=site.csrf_header).json
    assert got["body"] == "the body" * 1000
    after = site.opened()
    assert got["headers"]["Authorization"] == f"Bearer {after.tokens.access}"
    assert (after.sid, backend.calls[REFRESH], api.calls["/v1/x"]) == (before.sid, 1, 2)


def test_a_body_that_cannot_be_read_again_is_not_repeated(
    site: Signed, backend: Served, api: Served
) -> None:
    class Once(io.BytesIO):
        def seek(self, *position: int) -> int:
            raise OSError("a pipe")

    refuse_first(api, site.opened().tokens.access)
    asked = Request.blank("/api/x", method="POST", headers=site.csrf_header | site.cookie_header())
    asked.environ |= {"wsgi.input": Once(b"once"), "CONTENT_LENGTH": "4"}
    answer = asked.get_response(site.app)
    assert answer.status_int == 401
    assert answer.json_body == {"from": "the API"}
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (0, 1)


def test_a_401_that_a_new_token_does_not_change_is_the_apis_answer(
    site: Signed, backend: Served, api: Served
) -> None:
    api.instead["/v1/x"] = Response(json_body={"from": "the API"}, status=401)
    assert site.get("/api/x", status=401).json == {"from": "the API"}
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 2)
    site.get("/api/x", status=401)
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 3)


def test_a_401_while_the_backend_is_down_signs_nobody_out(
    site: Signed, backend: Served, api: Served
) -> None:
    api.instead["/v1/x"] = Response(json_body={"from": "the API"}, status=401)
    backend.instead[REFRESH] = Response(status=503)
    answer = site.get("/api/x", status=401)
    assert (answer.json, "Set-Cookie" in answer.headers) == ({"from": "the API"}, False)
    assert site.get("/session").json["user"]["id"] == 1


def test_a_401_while_the_backend_is_down_is_503_if_the_token_has_ended_meanwhile(
    site: Signed, backend: Served, api: Served
) -> None:
    with time_machine.travel(time.time(), tick=False) as clock:

        def answer(request: Request) -> Response:
            clock.shift(1000)
            return Response(status=401)

        api.instead["/v1/x"] = answer
        backend.instead[REFRESH] = Response(status=503)
        refused = site.get("/api/x", status=503)
    assert refused.json["code"] == "BackendUnavailable"
    assert int(refused.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in refused.headers


def test_a_401_of_a_session_that_has_ended_leads_to_sign_in(
    site: Signed, backend: Served, api: Served
) -> None:
    from servers import NOT_VALID

    api.instead["/v1/x"] = Response(status=401)
    backend.instead[REFRESH] = Response(json_body=NOT_VALID, status=401)
    answer = site.get("/api/x", status=401)
    assert answer.json["code"] == "RefreshTokenRejected"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_an_expired_session_is_renewed_or_kept(site: Signed, backend: Served) -> None:
    with time_machine.travel(time.time() + 1000, tick=False):
        backend.instead[REFRESH] = Response(status=503)
        answer = site.get("/api/x", headers={"Accept": "text/html"}, status=503)
        assert (answer.content_type, answer.json["code"]) == (PROBLEM, "BackendUnavailable")
        assert answer.headers["Retry-After"]
        del backend.instead[REFRESH]
        eventually(lambda: site.get("/api/x", status="*").status_int == 200)
    assert site.opened().sid


def test_an_api_that_is_down_signs_nobody_out(backend: Served) -> None:
    site = Signed(backend, "http://127.0.0.1:9")
    answer = site.get("/api/x", headers={"Accept": "text/html"}, status=503)
    assert (answer.content_type, answer.json["code"]) == (PROBLEM, "BackendUnavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert site.get("/session").json["user"]["id"] == 1


def test_a_token_or_a_header_that_cannot_be_sent(site: Signed, api: Served) -> None:
    answer = site.get("/api/x", extra_environ={"HTTP_X_ODD": "a\nb"}, status=400)
    assert answer.json["code"] == "BadRequest"
    session = site.opened().to_claims()
    session["data"]["tokens"]["access"] = "two\nlines"
    token = site.services.sealer.seal(authapp.Session.from_claims(session))
    answer = site.get("/api/x", headers={"Cookie": f"{COOKIE}={token}"}, status=503)
    assert "lines" not in answer.text
    assert not api.calls


class Raw:
    """An API that sends exactly the given bytes: the first answer on the first connection, the
    second answer on the second connection, and so on."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.got: list[bytes] = []
        self._answers = answers
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        threads = []
        for answer in self._answers:
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection, answer), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()

    def _serve(
        self, connection: socket.socket, answer: bytes | Callable[[socket.socket], None]
    ) -> None:
        with connection:
            self.got.append(connection.recv(65_536))
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer)

    def __enter__(self) -> "Raw":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(10)
        self._listener.close()


def test_chunks_arrive_and_trailers_are_dropped(backend: Served) -> None:
    with Raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
        b"Trailers: X-Sum\r\n"
        b"Connection: close, X-Hop\r\nX-Hop: 1\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"
    ) as api:
        answer = Signed(backend, api.url).get("/api/x")
    assert answer.body == b"abcde"
    assert b"\r\nx-forwarded-proto: http\r\n" in api.got[0]
    assert not {"Trailer", "Trailers", "X-Sum", "X-Hop", "Transfer-Encoding"} & set(answer.headers)


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
     b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
     *(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n" + bad + b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
       for bad in (
           b"Content-Length: -1", b"Content-Length: +2", b"Content-Length: 2_0",
           b"Content-Length: ", b"Content-Length: 2, 2", b"Content-Length: 2, 3",
           b"Content-Length: \xb2", b"Content-Length: 0x2", b"Content-Length: " + b"9" * 5000,
           b"Content-Length: 2\r\nContent-Length: 2", b"Content-Length: 2\r\nContent-Length: 3",
           b"Content-Length: 5\r\nTransfer-Encoding: chunked",
           b"Transfer-Encoding: chunked\r\nContent-Length: 5",
           b"Transfer-Encoding: xchunked", b"Transfer-Encoding: gzip, chunked",
           b"Transfer-Encoding: chunked ", b"Transfer-Encoding: chunked, identity",
           b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
           b"X-A: a\0b", b"X-A: a\x1b[31m", b"X-A: a\x7f", b"X-A: a\x0bb", b"X(A: b",
       ))],
)  # fmt: skip
def test_a_response_that_is_not_http_gets_503(backend: Served, said: bytes) -> None:
    with Raw(said) as api:
        site = Signed(backend, api.url)
        site.post("/api/x", "body", headers=site.csrf_header, status=503)


def test_a_connection_that_the_api_has_closed_is_opened_again(backend: Served) -> None:
    with Raw(b"", b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok") as api:
        assert Signed(backend, api.url).get("/api/x").body == b"ok"


def test_an_answer_before_the_whole_request_is_passed_on(backend: Served) -> None:
    with Raw(b"HTTP/1.1 413 Big\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nbig") as api:
        site = Signed(backend, api.url)
        answer = site.post("/api/x", b"x" * 100, headers=site.csrf_header, status=413)
    assert answer.body == b"big"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_an_answer_that_ends_too_early_is_not_taken_for_whole(backend: Served, said: bytes) -> None:
    from authapp.edge.upstream import UpstreamBroken

    with Raw(said) as api:
        site = Signed(backend, api.url)
        with pytest.raises(UpstreamBroken):
            site.get("/api/x")


def test_a_slow_api_takes_no_thread_from_the_rest(backend: Served) -> None:
    done = threading.Event()

    def slow(connection: socket.socket) -> None:
        done.wait(20)
        connection.sendall(b"HTTP/1.1 204 Done\r\n\r\n")

    with Raw(slow, slow) as api:
        site = Signed(backend, api.url, proxy__bulkhead="2", proxy__timeout="10")
        twins = [site.twin() for _ in range(2)]
        waiting = [
            threading.Thread(target=each.get, args=("/api/x",), kwargs={"status": 204})
            for each in twins
        ]
        for each in waiting:
            each.start()
        eventually(lambda: len(api.got) == 2)
        began = time.monotonic()
        for _ in range(5):
            site.get("/api/x", status=503)
        assert time.monotonic() - began < 5  # the first waits for a second, the others do not
        assert site.get("/session").json["user"]["id"] == 1
        site.get("/login", status=303)
        done.set()
        for each in waiting:
            each.join()


def replacing_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """A tween of the application. It replaces a response that has the header ``X-Replaced``."""

    def tween(request: Any) -> Any:
        response = handler(request)
        return PyramidResponse("mine") if "X-Replaced" in response.headers else response

    return tween


def test_an_answer_that_the_server_does_not_get_keeps_no_slot(backend: Served, api: Served) -> None:
    def fail(event: NewResponse) -> None:
        if "X-Bad" in event.response.headers:
            raise RuntimeError("the application's own subscriber")

    def more(config: Configurator) -> None:
        config.add_subscriber(fail, NewResponse)
        config.add_tween("edge.test_proxy.replacing_tween_factory")

    site = application(backend.url, more, proxy=f"/api = {api.url}", proxy__bulkhead="1")
    site.sign_in()
    api.instead["/bad"] = Response(b"x", headers={"X-Bad": "1"})
    api.instead["/replaced"] = Response(b"x", headers={"X-Replaced": "1"})

    def refuse(*given: Any) -> None:
        raise AssertionError("the server refuses a header")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            site.get("/api/bad")
        assert site.get("/api/replaced").text == "mine"
        asked = Request.blank("/api/x", headers=site.cookie_header())
        with pytest.raises(AssertionError):
            site.app(asked.environ, refuse)
    assert site.get("/api/x").json["method"] == "GET"


def test_an_api_that_says_nothing_is_given_up(backend: Served) -> None:
    done = threading.Event()
    with Raw(lambda connection: done.wait(20) and None) as api:
        site = Signed(backend, api.url, proxy__timeout="0.1")
        site.get("/api/x", status=503)
        done.set()


def test_slots_wait_only_for_what_may_end_soon() -> None:
    now = [0.0]
    slots = ProxyBulkhead(1, lambda: now[0])
    release = slots.take(5)
    waiter: list[Any] = []
    thread = threading.Thread(target=lambda: waiter.append(slots.take(5)))
    thread.start()
    release()
    release()
    thread.join(5)
    assert len(waiter) == 1
    now[0] = 1.0
    with pytest.raises(ProxyBulkheadFull):
        slots.take(5)
    waiter[0]()
    slots.take(0)()


def test_400_requests_with_one_expired_session_renew_once(
    site: Signed, backend: Served, api: Served
) -> None:
    cookie = site.cookie_header()
    twins = [Site(wsgi=site.app) for _ in range(8)]
    answers: list[int] = []
    with time_machine.travel(time.time() + 1000, tick=True):

        def many(browser: Site) -> None:
            for _ in range(50):
                answers.append(browser.get("/api/x", headers=cookie, status="*").status_int)

        threads = [threading.Thread(target=many, args=(each,)) for each in twins]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert (len(answers), set(answers)) == (400, {200})
    assert (backend.calls[REFRESH], api.calls["/v1/x"]) == (1, 400)


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
