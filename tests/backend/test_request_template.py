"""A value in a request template cannot change the rest of the request. Names of tests call this
threat ``w1``."""

import json
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from authapp.backend.request_template import (
    CannotSend,
    FilledRequest,
    RequestTemplate,
    parse,
    parse_text,
)

VALUES = st.text(max_size=20) | st.text("\r\n\0\t{}\"'%/\\?#&=.;:, aé€", max_size=20)
"""Strings that a user can type, among them strings with characters that have a meaning in HTTP."""


def template(text: str) -> RequestTemplate:
    found = parse(text)
    assert found
    return found


def received(request: FilledRequest) -> Request:
    """Write a request with ``http.client``. Return the request that a server reads from these
    bytes."""
    sent: list[bytes] = []
    connection = HTTPConnection("backend.invalid")
    connection.sock = type("Sock", (), {"sendall": lambda self, data: sent.append(bytes(data))})()
    connection.request(request.method, request.path, request.body, dict(request.headers))
    head, _, body = b"".join(sent).partition(b"\r\n\r\n")
    return Request.from_bytes(head + b"\r\n\r\n" + body)


def filled(make: Callable[[], FilledRequest]) -> FilledRequest | None:
    """Return the request that ``make`` returns, or None if the template refuses a value."""
    try:
        return make()
    except CannotSend:
        return None


def test_a_json_request_from_the_contract_is_sent() -> None:
    login = template("""
        POST /auth/login
        Content-Type: application/json
        X-Forwarded-For: {address}
        strategy = local
        user.email = {username}
        user.password = {password}
    """)
    values = {"username": "a@example.com", "password": "p=:{x}", "address": "192.0.2.1"}
    request = received(login.fill(values))
    assert (request.method, request.path) == ("POST", "/auth/login")
    assert request.headers["X-Forwarded-For"] == "192.0.2.1"
    assert request.json_body == {
        "strategy": "local",
        "user": {"email": "a@example.com", "password": "p=:{x}"},
    }


def test_a_line_whose_placeholder_has_no_value_is_left_out() -> None:
    login = template("POST /x\nX-Forwarded-For: {address}\nname = {username}\nscope = {scope}")
    request = received(login.fill({"username": "", "address": None}))
    assert "X-Forwarded-For" not in request.headers
    assert request.json_body == {"name": ""}


def test_fields_become_a_form_or_the_query_of_a_get() -> None:
    form = template("POST /x\nContent-Type: application/x-www-form-urlencoded\na.b = {username}")
    request = received(form.fill({"username": "é &="}))
    assert request.content_type == "application/x-www-form-urlencoded"
    assert dict(request.POST) == {"a.b": "é &="}
    get = template("GET /x?y=1\nname = {username}")
    assert dict(received(get.fill({"username": "é &="})).GET) == {"y": "1", "name": "é &="}
    assert received(template("DELETE /x").fill({})).body == b""


def test_a_custom_json_content_type_is_kept() -> None:
    request = received(template("POST /x\nContent-Type: application/vnd.x+json\na = 1").fill({}))
    assert request.headers["Content-Type"] == "application/vnd.x+json"
    assert json.loads(request.body) == {"a": "1"}


def test_doubled_braces_are_literal() -> None:
    request = template("POST /x\na = {{b}} }").fill({})
    assert json.loads(request.body or b"") == {"a": "{b} }"}
    assert parse_text("{{username}}").fill({"username": "x"}) == "{username}"


def test_none_means_no_request() -> None:
    assert parse(" none ") is None


def test_a_missing_value_in_the_path_raises_cannot_send() -> None:
    with pytest.raises(CannotSend):
        template("GET /x/{state}").fill({})


@given(VALUES)
def test_w1_a_value_stays_in_its_json_field(value: str) -> None:
    request = template('POST /x\na = {username}\nb = "').fill({"username": value})
    assert json.loads(request.body or b"") == {"a": value, "b": '"'}


@given(VALUES)
def test_w1_a_value_stays_in_its_form_field(value: str) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    request = filled(
        lambda: template(f"POST /x\n{form}\na = {{password}}\nb = 1").fill({"password": value})
    )
    if request:
        found = parse_qsl((request.body or b"").decode(), keep_blank_values=True)
        assert found == [("a", value), ("b", "1")]


@given(VALUES)
def test_w1_a_value_stays_in_its_query_parameter(value: str) -> None:
    request = filled(lambda: template("GET /x\na = {access}\nb = 1").fill({"access": value}))
    if request:
        query = urlsplit(received(request).url).query
        assert parse_qsl(query, keep_blank_values=True) == [("a", value), ("b", "1")]


@given(VALUES)
def test_w1_a_value_stays_in_its_path_segment(value: str) -> None:
    request = filled(lambda: template("GET /a/{username}/b").fill({"username": value}))
    if request:
        first, segment, last = request.path[1:].split("/")
        assert (first, unquote(segment), last) == ("a", value, "b")
        assert segment not in (".", "..")
        assert "?" not in request.path
        assert request.path.isascii()


@pytest.mark.parametrize("value", [".", "..", "\ud800"])
def test_w1_an_unsafe_path_segment_is_refused(value: str) -> None:
    with pytest.raises(CannotSend):
        template("GET /a/{username}/b").fill({"username": value})


@pytest.mark.parametrize(
    "lines",
    [
        "X-A: {username}",
        "Content-Type: application/x-www-form-urlencoded\na = {username}",
        "Cookie: a={username}",
    ],
)
def test_w1_a_lone_surrogate_is_refused_outside_json(lines: str) -> None:
    with pytest.raises(CannotSend):
        template(f"POST /a\n{lines}").fill({"username": "\ud800"})


@given(VALUES)
def test_w1_a_value_stays_in_its_header(value: str) -> None:
    request = filled(lambda: template("GET /x\nX-A: {refresh}\nX-B: 1").fill({"refresh": value}))
    if request:
        came: Any = received(request).headers
        assert sorted(name for name in came if name.startswith("X-")) == ["X-A", "X-B"]
        sent = request.headers["X-A"]
        assert (sent if isinstance(sent, bytes) else sent.encode()) == value.encode()
        assert came["X-B"] == "1"


@given(VALUES)
def test_w1_a_value_stays_in_its_cookie(value: str) -> None:
    request = filled(lambda: template("GET /x\nCookie: r={refresh}; b=1").fill({"refresh": value}))
    if request:
        assert received(request).headers["Cookie"] == f"r={value}; b=1"
        assert not set(value) & set('; ,"\\\r\n')


@given(st.text("POST GET/xaA:={}\n\r\t.-\"'%é", max_size=60) | st.text(max_size=60))
def test_any_string_parses_or_raises_value_error(text: str) -> None:
    with suppress(ValueError):
        parse("POST /x\n" + text)
