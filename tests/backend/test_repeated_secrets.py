"""Neither the log nor the sign-in page shows a secret or a token that a response of the backend
repeats (threats L1 and W4)."""

import base64
import html
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import escape
from webob import Response

from authapp.backend.http_exchange import in_one_line
from servers import Served
from site_under_test import Site

HIDDEN = "(not shown: it repeats what was sent)"
PASSWORD = "my pass+word n\u00b01"


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


ENCODERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "percent": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "each byte": lambda text: "".join(f"%{each:02x}" for each in text.encode()),
    "HTML": html.escape,
    "MarkupSafe": lambda text: str(escape(text)),
    "HTML decimal": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "HTML hex": lambda text: "".join(f"&#x{ord(each):X};" for each in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON of each character": lambda text: "".join(
        json.dumps(each)[1:-1] if ord(each) > 0xFFFF else f"\\u{ord(each):04X}" for each in text
    ),
    "JavaScript": lambda text: "".join(f"\\u{{{ord(each):x}}}" for each in text),
    "Python": lambda text: text.encode("unicode_escape").decode(),
    "bytes of Python": lambda text: repr(text.encode()),
    "bytes in octal": lambda text: "".join(f"\\{each:03o}" for each in text.encode()),
    "mojibake": lambda text: text.encode().decode("latin-1"),
    "base64": lambda text: base64_of(text.encode()),
    "base64, one byte before": lambda text: base64_of(b":" + text.encode()),
    "base64, two bytes before": lambda text: base64_of(b"a:" + text.encode()),
    "base64 without padding": lambda text: base64_of(text.encode()).rstrip("="),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
}

WORDS = st.text(st.characters(exclude_categories=["C", "Z", "M"]), min_size=8, max_size=40)


@given(
    encoder=st.sampled_from(list(ENCODERS)),
    secret=WORDS,
    before=st.text(max_size=9),
    after=st.text(max_size=9),
)
@example(encoder="upper case", secret="0000000\u0131", before="", after="")
@settings(max_examples=500)
def test_l1_no_usual_encoding_of_a_secret_is_shown(
    encoder: str, secret: str, before: str, after: str
) -> None:
    said = f"{before} {ENCODERS[encoder](secret)} {after}"
    assert in_one_line(said, None, secret) == HIDDEN


@pytest.mark.parametrize("outer", ENCODERS)
def test_l1_an_encoding_in_an_encoding_is_not_shown(outer: str) -> None:
    for inner, encode in ENCODERS.items():
        if outer == "upper case" and "base64" in inner:
            continue  # nobody can decode this
        for secret in (PASSWORD, "/////+/+//", "%41%2541", "&amp;&#38;", "\\\\u0041\\n"):
            said = f"no {ENCODERS[outer](encode(secret))}"
            assert in_one_line(said, secret) == HIDDEN, (inner, secret)


@pytest.mark.parametrize(
    "said",
    [
        "h u n t e r 2 x y z",
        "hunter\u202e2\u061cxyz",
        "\uff48unter2xyz",
        "see hunter2x",
        "HUNTER2X",
    ],
)
def test_l1_eight_characters_of_a_secret_are_not_shown(said: str) -> None:
    assert in_one_line(said, "hunter2xyz") == HIDDEN


def test_l1_a_text_that_repeats_no_secret_is_shown() -> None:
    said = (
        "No active account found with the given credentials: aGVsbG8gaGVsbG8 %41 &lt; \\n 41424344"
    )
    assert in_one_line(said, PASSWORD, "abc", "") == said[:100]
    assert in_one_line("see hunter2", "hunter2xyz") == "see hunter2", "fewer than eight of ten"


@pytest.mark.parametrize("token", ["rt_0123456789abcdefghij", "A1" * 8, "x" * 24])
def test_w4_what_looks_like_a_token_is_not_shown(token: str) -> None:
    assert in_one_line(f"use {token}, please") == "use ***, please"


@pytest.mark.parametrize(
    "character",
    "\r\n\x1b\x7f\x85\xad\u034f\u0600\u061c\u115f\u17b4\u180e\u200b\u200f\u2028\u202e\u2066\u2800"
    "\u3164\ud800\ue000\ufe0f\ufeff\uffa0\ufffe\U000e0001\U000e0100",
)
def test_w4_a_character_without_a_shape_is_a_space(character: str) -> None:
    assert in_one_line(f"a{character}b") == "a b"


def test_w4_text_in_any_language_is_shown() -> None:
    said = "账号已锁定。 Учётная запись e\u0301 😀"
    assert in_one_line(said) == said


@pytest.mark.parametrize(
    "said",
    ["%41&#65;\\u0041aGVsbG8gaGVsbG868656c6c6f ", "\\", "&amp;", "%25", "41", "\ufdfa", "é"],
)
def test_l1_a_secret_is_searched_in_bounded_time(said: str) -> None:
    began = time.thread_time()
    in_one_line(said * 2000, "a password", "t" * 4000)
    assert time.thread_time() - began < 1.5


def test_l1_neither_the_page_nor_the_audit_log_shows_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "authapp.audit")
    told = ""

    def backend(environ: Any, start_response: Any) -> Any:
        return Response(status=401, json_body={"detail": f"no {told}"})(environ, start_response)

    lines = {"login__show_reason": "true", "backend__answer__reason": "body.detail"}
    with Served(backend) as served:
        site = Site(served.url, **lines, login__rate="1000/minute")
        for encode in ENCODERS.values():
            caplog.clear()
            told = encode(PASSWORD)
            page = site.sign_in("alice", PASSWORD, status=401)
            assert HIDDEN in page.text
            assert HIDDEN in caplog.text
            assert json.dumps(told)[1:-1] not in caplog.text
