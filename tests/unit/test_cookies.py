"""Sealed token and cookies: names, prefixes, chunks; threats C8, C13, C14."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authapp.cookies import CHUNK_LENGTH, MAX_CHUNKS, Presented, SessionCookie, SessionTooLarge

COOKIE = SessionCookie("n", secure=False)
TOKEN = st.text("abcXYZ019-_.", min_size=1, max_size=CHUNK_LENGTH * MAX_CHUNKS)


def header(set_cookies: list[str]) -> str:
    """What a browser sends back."""
    return "; ".join(each.partition(";")[0] for each in set_cookies)


@given(TOKEN)
def test_there_and_back(token: str) -> None:
    written = COOKIE.write(token, 60)
    assert token in COOKIE.read("other=1; " + header(written) + "; n2=3").candidates


def test_a_long_token_is_chunked() -> None:
    assert len(COOKIE.write("x" * 3900, 60)) == 1
    written = COOKIE.write("x" * 3901, 60)
    assert [each.partition("=")[0] for each in written] == ["n.0", "n.1"]
    assert all(len(each) < 4096 for each in written)


def test_chunks_that_are_no_longer_used_are_cleared() -> None:
    shorter = COOKIE.write("x", 60, ["n.0", "n.1", "n"])
    assert [each.partition(";")[0] for each in shorter] == ["n=x", "n.0=", "n.1="]
    assert "Max-Age=0" in shorter[1]
    longer = COOKIE.write("x" * 4000, 60, ["n", "n.5"])
    assert [each.partition("=")[0] for each in longer] == ["n.0", "n.1", "n", "n.5"]


def test_c14_what_no_browser_would_bring_back_is_not_written() -> None:
    with pytest.raises(SessionTooLarge, match="11701 bytes"):
        COOKIE.write("x" * (3 * 3900 + 1), 60)


@pytest.mark.parametrize(
    ("text", "candidates", "names"),
    [
        ("", (), ()),
        ("other=1", (), ()),
        ("xn=1; n2=2; n.x=3; n.007=4; n.100=5; n.٣=6; n.=7; n.-1=8", (), ()),
        ("n=a", ("a",), ("n",)),
        ("n", ("",), ("n",)),
        (" n=a ;\tn=b", ("a", "b"), ("n",)),
        ("n=a;n=b;n=c", ("a", "c"), ("n",)),
        ("n.0=a; n.1=b", ("a", "ab"), ("n.0", "n.1")),
        ("n.1=b; n.0=a", ("a", "ab"), ("n.1", "n.0")),
        ("n.1=b", (), ("n.1",)),
        ("n.0=a; n.2=c", ("a",), ("n.0", "n.2")),
        ("n=w; n.0=a; n.1=b", ("w", "a", "ab"), ("n", "n.0", "n.1")),
        ("n.0=a; n.0=x; n.1=b", ("a", "ab", "x", "xb"), ("n.0", "n.1")),
        ("n.99999=a; n.99=b", (), ("n.99",)),
    ],
)
def test_c8_c13_what_may_be_a_token(
    text: str, candidates: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert COOKIE.read(text) == Presented(candidates, names)


@given(st.text())
def test_c1_any_header(text: str) -> None:
    presented = COOKIE.read(text + "; n=" + text)
    assert len(presented.candidates) <= 2 + 2 * MAX_CHUNKS


def test_c8_sixty_chunks_are_no_more_work_than_three() -> None:
    many = "; ".join(f"n.{index}=x" for index in range(60))
    presented = COOKIE.read(many)
    assert presented.candidates == ("x", "xx", "xxx")
    assert len(presented.names) == 60


def test_names_and_attributes() -> None:
    name = SessionCookie.default_name
    assert name(secure=False, domain=None) == "authapp.session"
    assert name(secure=True, domain=None) == "__Host-authapp.session"
    assert name(secure=True, domain="example.com") == "__Secure-authapp.session"
    (written,) = SessionCookie("n", True, "example.com", "Strict").write("x", 60)
    for part in ("Domain=example.com", "SameSite=Strict", "secure", "HttpOnly", "Max-Age=60"):
        assert part in written


def test_which_set_cookie_is_ours() -> None:
    assert COOKIE.owns("n=1; Path=/")
    assert COOKIE.owns("n.1=1")
    assert not COOKIE.owns("n.x=1")
    assert not COOKIE.owns("other=n")
