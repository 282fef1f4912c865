"""What the proxy changes in a response of the API, and which responses it refuses."""

from typing import Any

import pytest
from webob import Request, Response

from edge import proxied_api
from edge.proxied_api import Raw, Signed
from servers import Served
from site_under_test import COOKIE

# The fixtures of these tests.
api, site = proxied_api.api, proxied_api.site


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
