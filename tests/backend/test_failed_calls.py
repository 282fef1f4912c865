"""If a call of a view fails: what the page and the log say, and which errors the view gets."""

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from pyramid.request import Request

from backend.slow_calls import ok
from servers import Served
from site_under_test import application_with_view


def test_the_page_says_that_a_call_may_have_been_carried_out(backend: Served) -> None:
    def post(request: Request) -> None:
        request.backend.post("/drop", data=b"")

    site = application_with_view(backend.url, post, backend__timeout="0.5")
    site.sign_in("alice", status=303)
    backend.instead["/drop"] = lambda request: time.sleep(2) or ok(request)
    html = {"Accept": "text/html"}
    form = {"csrf_token": site.csrf()}
    posted = site.post("/view", form, headers=html, status=503)
    assert "What you just did may have been carried out." in posted
    assert "<h1>Not available right now</h1>" in posted
    assert posted.headers["Retry-After"]
    again = "A service that this page needs is not responding. Try again in a moment."
    assert again in site.post("/view", form, headers=html, status=503), "it was not sent"
    assert again in site.get("/view", headers=html, status=503)


def test_the_log_line_of_a_failed_call_cannot_be_forged(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/a\u2028\u0085b/" + "eyJhbGciOiJub25lIn0" * 3

    def read(request: Request) -> None:
        request.backend.get(path, timeout=0.3)

    site = application_with_view(backend.url, read)
    site.sign_in("alice", status=303)
    backend.instead[quote(path)] = lambda request: time.sleep(1)
    site.get("/view", status=503)
    (line,) = [each for each in caplog.messages if each.startswith("BackendUnreachable")]
    assert line.isprintable()
    assert "eyJ" not in line


def test_an_error_in_the_application_s_own_code_is_raised_unchanged(backend: Served) -> None:
    def rows() -> Iterator[bytes]:
        yield {}["missing"]

    def mistaken(request: Request) -> str:
        raised = []
        for options in ({"param": "typo"}, {"data": rows()}):
            try:
                request.backend.post("/fast", **options)
            except (TypeError, KeyError) as error:
                raised.append(type(error).__name__)
        return " ".join(raised)

    site = application_with_view(backend.url, mistaken)
    assert site.get("/view").json == "TypeError KeyError"
