"""Responses to htmx. For other requests, ``Accept`` decides between JSON and HTML: contract
section 4."""

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from site_under_test import Site

HTMX = {"HX-Request": "true", "HX-Current-URL": "https://localhost/orders?open=1#top"}
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json, text/plain, */*", 401),
        ("*/*, application/json;q=0.5", 401),
        ("application/vnd.api+json, */*", 401),
        ("application/LD+JSON,*/*;q=0.1", 401),
        ("text/html;q=0.5, application/json;q=0.6", 401),
        ("application/json;q=0, */*", 303),
        ("text/html, application/json", 303),
        ("application/xhtml+xml, application/json;q=0.9, */*;q=0.8", 303),
        ("text/*, application/json;q=0.9", 303),
        ("text/plain, */*", 303),
        ("not a header at all;;;", 303),
    ],
)
def test_a_named_json_type_in_accept_beats_any_type(site: Site, accept: str, status: int) -> None:
    answer = site.get("/account", headers={"Accept": accept}, status=status)
    assert (answer.content_type == PROBLEM) == (status == 401)


def test_htmx_is_sent_to_sign_in_and_back_to_the_page_it_was_on(site: Site) -> None:
    answer = site.get("/account", headers=HTMX | {"Accept": "*/*"}, status=401)
    assert answer.content_type == PROBLEM
    assert answer.headers["HX-Redirect"] == "/login?next=%2Forders%3Fopen%3D1"
    assert answer.json["login_url"] == answer.headers["HX-Redirect"]
    assert "HX-Request" in answer.headers["Vary"]


def test_the_answer_to_a_person_varies_by_htmx_too(site: Site) -> None:
    answer = site.get("/account", headers={"Accept": "text/html"}, status=303)
    assert "HX-Request" in answer.headers["Vary"]
    assert "HX-Redirect" not in answer.headers


def test_htmx_learns_why_its_session_ended(site: Site) -> None:
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        site.sign_in()
        cookie = site.cookie_header()
        clock.shift(604_801)
        answer = site.get("/account", headers=HTMX | cookie, status=401)
    assert answer.headers["HX-Redirect"].endswith("&reason=RefreshTokenExpired")


@pytest.mark.parametrize(
    "url",
    ["", "https://[", "//evil.example", "https://evil.example", "javascript:alert(1)"],
)
def test_htmx_without_a_usable_address_comes_back_to_the_start_page(site: Site, url: str) -> None:
    answer = site.get("/account", headers={"HX-Request": "true", "HX-Current-URL": url}, status=401)
    assert answer.headers["HX-Redirect"] == "/login?next=%2F"


def test_htmx_that_is_not_allowed_gets_a_problem(site: Site) -> None:
    site.sign_in("bob")
    answer = site.get("/admin", headers=HTMX, status=403)
    assert answer.content_type == PROBLEM
    assert "HX-Redirect" not in answer.headers


SITE = Site("http://127.0.0.1:9")


@given(st.text(st.characters(min_codepoint=1, max_codepoint=255)))
def test_any_address_of_htmx_and_any_accept_is_answered(text: str) -> None:
    environ = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": text, "HTTP_ACCEPT": text}
    answer = SITE.get("/account", extra_environ=environ, status=401)
    assert answer.headers["HX-Redirect"].startswith("/login?next=%2F")
