"""The names, prefixes and chunks of the session cookie: threats C8, C13 and C14."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob.cookies import RequestCookies

from authapp.session.cookies import (
    CHUNK_LENGTH,
    MAX_CHUNKS,
    Candidates,
    SessionCookie,
    SessionTooLarge,
    readable,
)

COOKIE = SessionCookie("n", secure=False)
TOKEN = st.text("abcXYZ019-_.", min_size=1, max_size=CHUNK_LENGTH * MAX_CHUNKS)


def header(set_cookies: list[str]) -> str:
    """Return the ``Cookie`` header of a browser that has received these ``Set-Cookie`` headers."""
    return "; ".join(each.partition(";")[0] for each in set_cookies)


@given(TOKEN)
def test_a_written_token_is_read_back(token: str) -> None:
    written = COOKIE.write(token, 60)
    assert token in COOKIE.read("other=1; " + header(written) + "; n2=3").candidates


def test_a_long_token_is_chunked() -> None:
    assert len(COOKIE.write("x" * 3900, 60)) == 1
    written = COOKIE.write("x" * 3901, 60)
    assert [each.partition("=")[0] for each in written] == ["n.0", "n.1"]
    assert all(len(each) < 4096 for each in written)


def test_unused_chunks_are_cleared() -> None:
    shorter = COOKIE.write("x", 60, ["n.0", "n.1", "n"])
    assert [each.partition(";")[0] for each in shorter] == ["n=x", "n.0=", "n.1="]
    assert "Max-Age=0" in shorter[1]
    longer = COOKIE.write("x" * 4000, 60, ["n", "n.5"])
    assert [each.partition("=")[0] for each in longer] == ["n.0", "n.1", "n", "n.5"]


def test_c14_a_token_too_large_for_three_cookies_is_not_written() -> None:
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
        ("n=a;n=b;n=c", ("a", "b", "c"), ("n",)),
        ("n=a;n=b;n=c;n=d;n=e;n=f;n=g", ("a", "b", "c", "d", "g"), ("n",)),
        ("n.0=a; n.1=b", ("a", "ab"), ("n.0", "n.1")),
        ("n.1=b; n.0=a", ("a", "ab"), ("n.1", "n.0")),
        ("n.1=b", (), ("n.1",)),
        ("n.0=a; n.2=c", ("a",), ("n.0", "n.2")),
        ("n=w; n.0=a; n.1=b", ("w", "a", "ab"), ("n", "n.0", "n.1")),
        ("n.0=a; n.0=x; n.1=b", ("a", "ab", "x", "xb"), ("n.0", "n.1")),
        ("n.99999=a; n.99=b", (), ("n.99",)),
    ],
)
def test_c8_c13_candidates_and_names_are_read_from_the_header(
    text: str, candidates: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert COOKIE.read(text) == Candidates(candidates, names)


@given(st.text())
def test_c1_any_header_can_be_read(text: str) -> None:
    presented = COOKIE.read(text + "; n=" + text)
    assert len(presented.candidates) <= 5 + 2 * MAX_CHUNKS


def test_c8_only_three_of_sixty_chunks_are_read() -> None:
    many = "; ".join(f"n.{index}=x" for index in range(60))
    presented = COOKIE.read(many)
    assert presented.candidates == ("x", "xx", "xxx")
    assert len(presented.names) == 10, (
        "the headers that clear cookies must fit into a proxy's buffer"
    )
    assert "x" not in repr(presented)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""),
        ("a=1; b=2", "a=1; b=2"),
        ("a=1;b=2", "a=1;b=2"),
        ("a=", "a="),
        ("a=b=c", "a=b=c"),
        ("a", ""),
        ("=a", ""),
        ("a=1; b; c=3", "a=1; c=3"),
        (f"{'n' * 257}=1; c=3", "c=3"),
        ("a b=1; c=3", "c=3"),
        ("a=1  ;  b=2", "a=1; b=2"),
        ('a="x y"; b=2', 'a="x y"; b=2'),
        (r'a="\""; b=2', r'a="\""; b=2'),
        (r'a="\377"; b=2', "b=2"),
        (r'a="\303\251"', r'a="\303\251"'),
        ('a="\xe9"; b=2', "b=2"),
        ('a="\xc3\xa9"; b=2', 'a="\xc3\xa9"; b=2'),
        ('a="unclosed; b=2', "a=; b=2"),
        ("a=x y z; b=2", "a=x; b=2"),
        ("a=\xe9; b=\u20ac", "a=; b="),
        ("a=1,b=2", "a=1"),
        ("a=1; a=2", "a=1; a=2"),
    ],
)
def test_unreadable_pairs_are_removed_from_a_cookie_header(text: str, left: str) -> None:
    assert readable(text) == left
    assert readable(left) == left


@given(st.text(st.characters(max_codepoint=255)) | st.text('ab=;" \\37,-\xe9'))
def test_webob_reads_no_other_names_from_a_repaired_header(text: str) -> None:
    def read(header: str) -> dict[str, str]:
        return dict(RequestCookies({"HTTP_COOKIE": header}))

    left = readable(text)
    cookies = read(left)
    names = [pair.partition("=")[0] for pair in left.split("; ")] if left else []
    if readable(text) != text:
        assert set(cookies) <= set(names)
    assert COOKIE.read(left).names == tuple(dict.fromkeys(n for n in names if n == "n"))


@pytest.mark.parametrize("head", ["", "a=1,", 'a="', "a=\\", "a=1; b=\xe9", 'a="x"'])
@pytest.mark.parametrize(
    "run", ["-", "a b", '"', '"\\', "=", "=;", ";", "x=\xe9", 'x="', ",", "a=b c"]
)
def test_c8_a_long_header_is_parsed_in_linear_time(head: str, run: str) -> None:
    """authapp reads any ``Cookie`` header in linear time. WebOb's own code needs minutes for some
    of these headers."""
    text = head + run * (200_000 // len(run))
    began = time.process_time()
    dict(RequestCookies({"HTTP_COOKIE": readable(text)}))
    assert time.process_time() - began < 5


def test_cookie_names_and_attributes() -> None:
    name = SessionCookie.default_name
    assert name(secure=False, domain=None) == "authapp.session"
    assert name(secure=True, domain=None) == "__Host-authapp.session"
    assert name(secure=True, domain="example.com") == "__Secure-authapp.session"
    (written,) = SessionCookie("n", True, "example.com", "Strict").write("x", 60)
    for part in ("Domain=example.com", "SameSite=Strict", "secure", "HttpOnly", "Max-Age=60"):
        assert part in written


def test_host_only_cookies_are_cleared_when_a_domain_is_set() -> None:
    """When an operator sets a cookie domain, browsers may still have cookies without a domain.
    authapp deletes these cookies."""
    cookie = SessionCookie("n", True, "example.com")
    for written in (cookie.write("x", 60, ["n"]), cookie.clear(["n"])):
        host, domain = written
        assert host.startswith("n=; Max-Age=0")
        assert "Domain" not in host
        assert "Domain=example.com" in domain
    assert len(cookie.write("x", 60)) == 1


def test_owns_recognises_our_set_cookie_headers() -> None:
    assert COOKIE.owns("n=1; Path=/")
    assert COOKIE.owns("n.1=1")
    assert not COOKIE.owns("n.x=1")
    assert not COOKIE.owns("other=n")
