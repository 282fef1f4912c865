"""Bytes have exactly one base64url text: threat C3."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from authapp.session import base64url
from session.sealing import ALPHABET


@given(raw=st.binary(min_size=1))
def test_c3_bytes_have_exactly_one_encoding(raw: bytes) -> None:
    """Threat C3. authapp accepts only one base64url text for the same bytes, even if Python's
    decoder accepts several."""
    text = base64url.encode(raw)
    standard = base64.b64encode(raw).decode()
    assert text == standard.translate(str.maketrans("+/", "-_", "="))
    spellings = {text[:-1] + last for last in ALPHABET} | {standard, f"{text}=", f"{text}\n"}
    assert {each for each in spellings | {text} if decoded_or_none(each) == raw} == {text}


@given(
    raw=st.binary(max_size=40),
    odd=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("=+/ \n.*é")), max_size=4),
    cut=st.integers(0, 3),
)
def test_c3_text_with_odd_characters_is_canonical_or_rejected(
    raw: bytes, odd: list[tuple[int, str]], cut: int
) -> None:
    text = base64url.encode(raw)
    for position, character in odd:
        text = text[:position] + character + text[position:]
    text = text[: len(text) - cut]
    found = decoded_or_none(text)
    assert found is None or base64url.encode(found) == text


def decoded_or_none(text: str) -> bytes | None:
    try:
        return base64url.decode(text)
    except ValueError:
        return None
