"""Which URLs ``request.backend`` calls, and how often it renews: contract section 5."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webob import Response as Answer

from authapp.web.request_backend import address_below
from servers import NOT_VALID, REFRESH, Served
from site_under_test import Site, add_view, application

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


def caller(backend: Served, call: Callable[[Request], Any], **keys: str) -> Site:
    def more(config: Configurator) -> None:
        add_view(config, call)

    site = application(backend.url, more, **keys)
    site.sign_in()
    return site


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


def test_a_lasting_401_renews_once(backend: Served) -> None:
    def call(request: Request) -> list[int]:
        return [request.backend.get(path).status_code for path in ("/me", "/other", "/me")]

    site = caller(backend, call)
    backend.instead |= dict.fromkeys(("/me", "/other"), Response(status=401, json_body={}))
    for _ in range(3):
        assert site.get("/view").json == [401, 401, 401]
    assert backend.calls[REFRESH] == 1
    assert site.get("/account").status_int == 200


def test_a_token_that_was_accepted_is_renewed_again(backend: Served) -> None:
    """The backend may revoke an access token that it has accepted, for example when it restarts.
    Then ``request.backend`` renews the session again."""
    refused: set[str] = set()

    def answer(request: Any) -> Response | None:
        token = request.authorization[1]
        return Response(status=401, json_body=NOT_VALID) if token in refused else None

    site = caller(backend, lambda request: request.backend.get("/me").status_code)
    backend.instead["/me"] = answer
    for number in (1, 2, 3):
        refused.add(site.opened().tokens.access)
        assert site.get("/view").json == 200
        assert backend.calls[REFRESH] == number


def test_a_401_to_other_credentials_renews_nothing(backend: Served) -> None:
    site = caller(
        backend, lambda request: request.backend.get("/me", auth=("api", "key")).status_code
    )
    backend.instead["/me"] = Response(status=401, json_body={})
    assert site.get("/view").json == 401
    assert backend.calls[REFRESH] == 0
    assert backend.calls["/me"] == 1


def test_renewal_after_the_headers_have_gone_is_kept_for_the_next_request(backend: Served) -> None:
    """If a streamed body renews the session after the headers were sent, authapp can no longer
    write the cookie. So the next request gets the new tokens."""

    def streamed(request: Request) -> Response:
        def body() -> Iterator[bytes]:
            yield b"status "
            yield str(request.backend.get("me").status_code).encode()

        return Response(app_iter=body())

    def more(config: Configurator) -> None:
        config.add_route("streamed", "/streamed")
        config.add_view(streamed, route_name="streamed")

    site = application(backend.url, more)
    site.sign_in()
    before = site.token()
    answers = iter([Answer(status=401, json_body=NOT_VALID)])
    backend.instead["/me"] = lambda request: next(answers, None)
    assert site.get("/streamed").text == "status 200"
    assert site.token() == before
    ((_, _, seconds),) = [
        each for each in site.services.store.living() if each[0].purpose == "spent refresh token"
    ]
    assert seconds > 3600
    site.post("/session", headers={"X-CSRF-Token": site.csrf()})
    assert site.token() != before
    assert backend.calls[REFRESH] == 1, "the request has got the successor"
