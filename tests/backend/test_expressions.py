"""Whatever the backend returns, an expression (JMESPath) gives a value or None: threat W3."""

import json
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authapp.backend.expressions import condition, expression, read_response
from authapp.backend.presets import load, names

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NAMES = ("error", "detail", "code", "errors", "data", "meta", "username", "msg", "user")
OURS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON))


def response(body: object, status: int = 400) -> Any:
    return read_response(status, {}, [], json.dumps(body).encode())


@given(OURS | JSON, st.integers(200, 599))
def test_every_preset_accepts_every_response_shape(body: object, status: int) -> None:
    for name in names():
        for key, text in load(name).items():
            if ".answer." in key:
                expression(text)(response(body, status))
            elif key.endswith((".refused", ".locked", ".incomplete", ".throttled")):
                assert condition(text)(response(body, status)) in (True, False)


def test_expressions_read_status_headers_cookies_and_body() -> None:
    seen = read_response(
        201,
        {"Content-Type": "application/json", "X-Token": "t"},
        ["jwt-refresh=abc; HttpOnly; Path=/", "other=1", "=", "\x00=x", "a,b=1"],
        b'{"a": [1]}',
    )
    assert seen["status"] == 201
    assert seen["headers"]["x-token"] == "t"
    assert seen["cookies"] == {"jwt-refresh": "abc", "other": "1"}
    assert expression('cookies."jwt-refresh"')(seen) == "abc"
    assert seen["body"] == {"a": [1]}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_value_is_read_as_pythons_http_cookies_writes_it(value: str) -> None:
    """Django, Flask and other Python backends write a cookie by the rules of ``http.cookies``. An
    expression then gives the value that the backend has set."""
    jar: SimpleCookie = SimpleCookie()
    jar["a"] = value
    line = jar["a"].OutputString()
    assert read_response(200, {}, [line + "; Path=/; HttpOnly"], b"")["cookies"]["a"] == value


@given(st.text(st.sampled_from('a=" ;,\\0123\t')) | st.text())
def test_an_arbitrary_cookie_gives_at_most_one_value(line: str) -> None:
    assert len(read_response(200, {}, [line], b"")["cookies"]) <= 1


@pytest.mark.parametrize(
    "body", [b"<h1>no</h1>", b"", b"\xff", b"[" * 100_000, b"NaN", b'{"a": 1e999}', b'"\\ud800"']
)
def test_a_body_that_is_not_json_is_a_string(body: bytes) -> None:
    assert isinstance(read_response(200, {}, [], body)["body"], str)


def test_w3_a_condition_on_a_large_response_is_fast() -> None:
    seen = response({str(number): number for number in range(100_000)})
    assert condition("body.error == 'invalid_grant'")(seen) is False


def test_conditions_are_status_codes_or_expressions() -> None:
    assert condition("400 401, 422")(response({}, 401))
    assert not condition("400 401")(response({}, 403))
    assert not condition("none")(response({}, 400))
    assert condition("body.code")(response({"code": 0}))
    for nothing in (None, False, "", [], {}):
        assert not condition("body.code")(response({"code": nothing}))
    assert not condition("body.code")(response([1]))
    assert not condition("starts_with(body.code, 'x')")(response({"code": 1})), (
        "a value of the wrong type makes the condition false"
    )


def test_expressions_support_slices() -> None:
    assert expression("body[0:1]")({"body": [1, 2]}) == [1]


def test_split_strips_spaces_and_keeps_empty_parts() -> None:
    assert expression("split(body, ',')")({"body": "a, b,"}) == ["a", "b", ""]
    assert expression("split(body, '')")({"body": "a b"}) == ["a b"]


def test_an_expression_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        expression("!" * 20_000 + "a")
