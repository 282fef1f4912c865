"""Which URLs ``request.backend`` calls, and what a view gets if the backend fails: contract section
5."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from authapp.web.request_backend import address_below
from servers import Served
from site_under_test import Site, add_view, application, application_with_view, settings
from web.example_application import OwnBackend, caller

BASE = "https://api.example.com/v1/"

ELSEWHERE = [
    "../admin",
    "/../admin",
    "x/../../admin",
    "%2e%2e/admin",
    "%2E./admin",
    "x/.%2E/.%2E/y",
    "x%2f..%2f..%2fadmin",
    "x/%252e%252e/admin",
    "..;/admin",
    "x/..;a=b/admin",
    "..%3b/admin",
    r"..\admin",
    r"x\..\..\admin",
    "..%5cadmin",
    ".. /admin",
    "..%20/admin",
    ".\t./admin",
    "..%00/admin\x00",
    "..%00/admin",
    "x/.%2500./admin",
    "..%c2%a0/admin",
    "..%3f/admin",
    "%ef%bc%8e%ef%bc%8e/admin",
    "x\r\nX-Evil: 1",
    "//other.example/x",
    "///other.example/x",
    r"/\other.example/x",
    "https://other.example/v1/x",
    "http://api.example.com/v1/x",
    "https://api.example.com:8443/v1/x",
    "https://api.example.com@other.example/v1/x",
    "https://user@api.example.com/v1/x",
    "https://api.example.com/v2/x",
    "https://api.example.com/v1x",
    "https://api.example.com/v1/../admin",
    "https:/\\other.example/x",
    "file:///etc/passwd",
    "javascript:x",
]

BELOW = {
    "": "https://api.example.com/v1/",
    "me": "https://api.example.com/v1/me",
    "/me?next=/../x&y=%2e%2e": "https://api.example.com/v1/me?next=/../x&y=%2e%2e",
    "compare/a...b": "https://api.example.com/v1/compare/a...b",
    "names/J..": "https://api.example.com/v1/names/J..",
    "files/a%2Fb": "https://api.example.com/v1/files/a%2Fb",
    "a/./b/../c": "https://api.example.com/v1/a/c",
    "https://api.example.com/v1/me": "https://api.example.com/v1/me",
}


@pytest.mark.parametrize("url", ELSEWHERE)
def test_urls_that_lead_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"request\.backend can"):
        address_below(BASE, url)


@pytest.mark.parametrize("url", BELOW)
def test_urls_below_the_base_are_called(url: str) -> None:
    assert address_below(BASE, url) == BELOW[url]


@given(st.text("./%2e5c;\\:@ax\t?#") | st.text())
def test_an_arbitrary_url_stays_below_the_base(url: str) -> None:
    try:
        sent = requests.Request("GET", address_below(BASE, url)).prepare().url
    except (ValueError, requests.RequestException):
        return
    assert sent
    assert sent.startswith(BASE)
    path = sent.partition("?")[0].partition("#")[0]
    assert {"..", "%2e%2e", "."}.isdisjoint(path.lower().split("/"))


def test_redirects_are_not_followed(backend: Served) -> None:
    backend.instead["/away"] = Response(status=302, headers={"Location": backend.url + "/me"})

    def call(request: Request) -> list[int]:
        options: list[dict[str, Any]] = [{}, {"allow_redirects": True}]
        return [request.backend.get("/away", **each).status_code for each in options]

    site = caller(backend, call)
    assert site.get("/view").json == [302, 302]
    assert backend.calls["/me"] == 0


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({}, "BackendUnreachable"),
        ({"timeout": 20}, 1200),
        ({"stream": True}, "ConnectionError"),
        ({"stream": True, "timeout": 20}, 1200),
    ],
)
def test_the_timeout_of_a_call_covers_the_whole_response(
    backend: Served, options: dict[str, Any], outcome: object
) -> None:
    """The backend sends a part of the body every 0.1 seconds, for longer than ``backend.timeout``.
    The call fails, unless it has a longer ``timeout`` of its own."""

    def drip() -> Iterator[bytes]:
        for _ in range(12):
            time.sleep(0.1)
            yield b"x" * 100

    def call(request: Request) -> object:
        try:
            answer = request.backend.get("/exports/7", **options)
            return len(b"".join(answer.iter_content(64)))
        except requests.RequestException as error:
            return type(error).__name__

    backend.instead["/exports/7"] = lambda request: Response(app_iter=drip())
    assert caller(backend, call, backend__timeout="0.8").get("/view").json == outcome


@pytest.mark.parametrize("url", ["https://elsewhere.example/", "http://127.0.0.1:1/me"])
def test_request_backend_refuses_urls_of_other_sites(backend: Served, url: str) -> None:
    def call(request: Request) -> str:
        try:
            request.backend.get(url)
        except ValueError as error:
            return str(error)
        return "called"

    site = application_with_view(backend.url, call)
    site.sign_in()
    assert "authapp.backend.url only" in site.get("/view").json


def test_request_backend_stores_no_cookies_and_follows_no_redirects(
    backend: Served,
) -> None:
    backend.instead["/set"] = Response(headers={"Set-Cookie": "of=alice"})
    backend.instead["/away"] = Response(status=307, headers={"Location": backend.url + "/me"})

    def call(request: Request) -> list[Any]:
        request.backend.get("/set")
        return [request.backend.get("/away").status_code, dict(request.backend.cookies)]

    site = application_with_view(backend.url, call)
    assert site.get("/view").json == [307, {}]
    assert all("Cookie" not in request.headers for request in backend.requests)


def test_request_backend_raises_value_error_without_a_backend_url() -> None:
    ini = settings("")
    del ini["authapp.backend.url"]
    with Configurator(settings=ini) as config:
        config.include("authapp")
        config.set_auth_backend(OwnBackend())
        add_view(config, lambda request: request.backend.get("/me"))
        site = Site(wsgi=config.make_wsgi_app())
    with pytest.raises(ValueError, match=r"request\.backend needs authapp\.backend\.url"):
        site.get("/view")


def test_o2_request_backend_does_not_wait_for_a_backend_that_is_down(backend: Served) -> None:
    def call(request: Request) -> str:
        began = time.monotonic()
        try:
            request.backend.get("/hangs", timeout=0.3)
        except requests.Timeout as error:
            return f"{type(error).__name__} {time.monotonic() - began < 0.2}"
        return "called"

    def hang(request: Any) -> None:
        threading.Event().wait(0.6)

    site = application_with_view(backend.url, call)
    backend.instead["/hangs"] = hang
    assert site.get("/view").json == "BackendUnreachable False"
    assert site.get("/view").json == "BackendUnreachable True"


def test_view_without_error_handling_responds_503_when_the_backend_is_down(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def call(request: Request) -> Any:
        return request.backend.get("/me?token=secret", timeout=0.3).json()

    def more(config: Configurator) -> None:
        config.include("authapp.web.views.errors")
        add_view(config, call)

    site = application("http://localhost:1", more)
    for _ in range(2):
        answer = site.get("/view", headers={"Accept": "application/json"}, status=503)
        assert answer.json["code"] == "BackendUnavailable"
        assert answer.headers["Retry-After"] == "1"
    page = site.get("/view", headers={"Accept": "text/html"}, status=503)
    assert "Nothing is lost" in page
    assert "ConnectionError (ConnectionRefusedError) at localhost:1/me; one" in caplog.text
    assert "secret" not in caplog.text


def test_request_backend_refuses_paths_outside_the_backend_url(backend: Served) -> None:
    def call(request: Request) -> str:
        for path in ("../admin", "/../admin", "x/../../admin", "%2e%2e/admin", "x/.%2E/.%2E/y"):
            with pytest.raises(ValueError, match="paths below"):
                request.backend.get(path)
        return "stayed"

    site = application_with_view(f"{backend.url}/api", call)
    assert site.get("/view").json == "stayed"


def test_backend_error_is_logged_when_a_view_handles_another_exception(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """While a view handles an exception, it calls a backend that is down. authapp logs the error of
    the backend, even if the causes of the exception form a cycle."""

    def call(request: Request) -> str:
        try:
            try:
                raise OSError("of the view")
            except OSError as one:
                try:
                    raise OSError("because of it") from one
                except OSError as other:
                    raise one from other
        except OSError:
            with pytest.raises(requests.ConnectionError):
                request.backend.get("/me")
        return "went on"

    site = application_with_view("http://localhost:1", call)
    assert site.get("/view").json == "went on"
    assert "BackendDown: call: ConnectionError" in caplog.text
