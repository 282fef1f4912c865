"""Requests written as HTTP: what is sent, and that no value can add anything. Threats W1, W2."""

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
"""What a stranger can type, and what breaks other people's templates."""


def template(text: str) -> RequestTemplate:
    found = parse(text)
    assert found
    return found


def received(request: FilledRequest) -> Request:
    """The request as a server reads it, after http.client has written it."""
    sent: list[bytes] = []
    connection = HTTPConnection("backend.invalid")
    connection.sock = type("Sock", (), {"sendall": lambda self, data: sent.append(bytes(data))})()
    connection.request(request.method, request.path, request.body, dict(request.headers))
    head, _, body = b"".join(sent).partition(b"\r\n\r\n")
    return Request.from_bytes(head + b"\r\n\r\n" + body)


def filled(make: Callable[[], FilledRequest]) -> FilledRequest | None:
    """None for a value that is refused."""
    try:
        return make()
    except CannotSend:
        return None


def test_a_request_as_in_the_contract() -> None:
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


def test_a_form_and_the_query_of_a_get() -> None:
    form = template("POST /x\nContent-Type: application/x-www-form-urlencoded\na.b = {username}")
    request = received(form.fill({"username": "é &="}))
    assert request.content_type == "application/x-www-form-urlencoded"
    assert dict(request.POST) == {"a.b": "é &="}
    get = template("GET /x?y=1\nname = {username}")
    assert dict(received(get.fill({"username": "é &="})).GET) == {"y": "1", "name": "é &="}
    assert received(template("DELETE /x").fill({})).body == b""


def test_a_json_type_of_its_own() -> None:
    request = received(template("POST /x\nContent-Type: application/vnd.x+json\na = 1").fill({}))
    assert request.headers["Content-Type"] == "application/vnd.x+json"
    assert json.loads(request.body) == {"a": "1"}


def test_braces() -> None:
    request = template("POST /x\na = {{b}} }").fill({})
    assert json.loads(request.body or b"") == {"a": "{b} }"}
    assert parse_text("{{username}}").fill({"username": "x"}) == "{username}"


def test_none_is_no_request() -> None:
    assert parse(" none ") is None


def test_a_path_without_a_value_is_not_sent() -> None:
    with pytest.raises(CannotSend):
        template("GET /x/{state}").fill({})


@given(VALUES)
def test_w1_in_a_field_of_json(value: str) -> None:
    request = template('POST /x\na = {username}\nb = "').fill({"username": value})
    assert json.loads(request.body or b"") == {"a": value, "b": '"'}


@given(VALUES)
def test_w1_in_a_field_of_a_form(value: str) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    request = filled(
        lambda: template(f"POST /x\n{form}\na = {{password}}\nb = 1").fill({"password": value})
    )
    if request:
        found = parse_qsl((request.body or b"").decode(), keep_blank_values=True)
        assert found == [("a", value), ("b", "1")]


@given(VALUES)
def test_w1_in_a_query(value: str) -> None:
    request = filled(lambda: template("GET /x\na = {access}\nb = 1").fill({"access": value}))
    if request:
        query = urlsplit(received(request).url).query
        assert parse_qsl(query, keep_blank_values=True) == [("a", value), ("b", "1")]


@given(VALUES)
def test_w1_in_a_path(value: str) -> None:
    request = filled(lambda: template("GET /a/{username}/b").fill({"username": value}))
    if request:
        first, segment, last = request.path[1:].split("/")
        assert (first, unquote(segment), last) == ("a", value, "b")
        assert segment not in (".", "..")
        assert "?" not in request.path
        assert request.path.isascii()


@pytest.mark.parametrize("value", [".", "..", "\ud800"])
def test_w1_a_path_segment_that_cannot_be_sent(value: str) -> None:
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
def test_w1_a_lone_surrogate_is_sent_in_json_alone(lines: str) -> None:
    with pytest.raises(CannotSend):
        template(f"POST /a\n{lines}").fill({"username": "\ud800"})


@given(VALUES)
def test_w1_in_a_header(value: str) -> None:
    request = filled(lambda: template("GET /x\nX-A: {refresh}\nX-B: 1").fill({"refresh": value}))
    if request:
        came: Any = received(request).headers
        assert sorted(name for name in came if name.startswith("X-")) == ["X-A", "X-B"]
        sent = request.headers["X-A"]
        assert (sent if isinstance(sent, bytes) else sent.encode()) == value.encode()
        assert came["X-B"] == "1"


@given(VALUES)
def test_w1_in_a_cookie(value: str) -> None:
    request = filled(lambda: template("GET /x\nCookie: r={refresh}; b=1").fill({"refresh": value}))
    if request:
        assert received(request).headers["Cookie"] == f"r={value}; b=1"
        assert not set(value) & set('; ,"\\\r\n')


@given(st.text("POST GET/xaA:={}\n\r\t.-\"'%é", max_size=60) | st.text(max_size=60))
def test_any_text_is_a_request_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse("POST /x\n" + text)
