"""``next`` can lead only to pages of this site: threat S9."""

import json
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyramid.config import Configurator
from pyramid.request import Request

from authapp.web.redirects import MAX_NEXT, safe_next

PAYLOADS = [
    (verdict, json.loads(payload))
    for verdict, payload in (
        line.split("\t", 1)
        for line in (Path(__file__).parent / "redirects.txt").read_text().splitlines()
    )
]


@pytest.fixture(scope="module")
def request_() -> Request:
    with Configurator() as config:
        config.add_route("authapp.login", "/login")
        config.add_route("authapp.logout", "/logout")
    request = Request.blank("/")
    request.registry = config.registry
    return request


ASCII = "".join(map(chr, range(33, 127)))


def encoded(target: str) -> str:
    """Return a target with its spaces and non-ASCII characters percent-encoded."""
    return quote(target, safe=ASCII, errors="surrogatepass")


def test_s9_payloads_stay_on_the_site(request_: Request) -> None:
    for verdict, payload in PAYLOADS:
        followed = safe_next(request_, payload)
        assert followed in (payload, encoded(payload), "/"), payload
        if verdict == "follow":
            assert followed == payload
        elif verdict == "off-site":
            assert followed == "/", payload


@given(st.text("/\\.:@%25e#?;&=\t\r\n \x00aå") | st.text())
def test_s9_arbitrary_target_stays_on_the_site(request_: Request, text: str) -> None:
    followed = safe_next(request_, text)
    assert followed.isascii()
    assert not set(followed).intersection(map(chr, [*range(33), 127]))
    assert followed in (encoded(text), "/")
    assert safe_next(request_, followed) == followed
    assert followed.startswith("/")
    assert not followed.startswith(("//", "/\\"))
    assert urlsplit(urljoin("https://here.example/x", followed)).netloc == "here.example"


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "/" + "a" * MAX_NEXT,
        "/login",
        "/login/",
        "/login?next=/x",
        "/logout",
        "/%6cogout",
        "/login%2f",
        "/a/../login",
        "/%2e%2e/x",
        "/a/./b",
    ],
)
def test_s9_unusable_targets_are_replaced_by_the_start_page(
    request_: Request, target: str | None
) -> None:
    assert safe_next(request_, target) == "/"


def test_s9_safe_path_is_followed(request_: Request) -> None:
    for target in ("/account?tab=1#x", "/a.b/..c", "/" + "a" * (MAX_NEXT - 1)):
        assert safe_next(request_, target) == target


@pytest.mark.parametrize(
    ("target", "followed"),
    [
        ("/search?q=x y", "/search?q=x%20y"),
        ("/a b/c", "/a%20b/c"),
        ("/caf\xe9?\xfc=\u4e2d#\U0001f600", "/caf%C3%A9?%C3%BC=%E4%B8%AD#%F0%9F%98%80"),
        ("/100%25 caf\xe9", "/100%25%20caf%C3%A9"),
        ("/ /evil.example", "/%20/evil.example"),
        ("/\uff0fevil.example", "/%EF%BC%8Fevil.example"),
    ],
)
def test_s9_spaces_and_letters_of_a_path_are_encoded(
    request_: Request, target: str, followed: str
) -> None:
    assert safe_next(request_, target) == followed


@pytest.mark.parametrize(
    "target",
    [
        *(
            f"/{each}{more}"
            for each in "\t\r\n\0\x1f\x7f\x85\xa0\u3000\u2028\ud800"
            for more in ("x", " x", "/x")
        ),
        *(
            "//caf\xe9",
            "/\\caf\xe9",
            "/\t/caf\xe9",
            " /x",
            "\xe9/x",
            "/\xe9\\x",
            "\\ /x",
            "/ /../\xe9",
        ),
        *("http://caf\xe9.example/", "//\u3002example", "/login?\xe9", "/\xe9" * 400),
    ],
)
def test_s9_no_other_character_is_encoded(request_: Request, target: str) -> None:
    assert safe_next(request_, target) == "/"


def test_s9_a_backslash_behind_the_path_is_kept(request_: Request) -> None:
    """Threat S9. Browsers read a backslash as a slash in the path of a URL only. So a backslash
    after the path is allowed."""
    for target in (r"/find?path=C:\temp", r"/a#\b", r"/?\\evil.example", r"/a?b=\/\/c#\d"):
        assert safe_next(request_, target) == target
        assert urlsplit(urljoin("https://here.example/x", target)).netloc == "here.example"
    for target in (r"/\evil.example", r"/a\b", r"\evil.example", r"/a\?b", r"/.\evil?a"):
        assert safe_next(request_, target) == "/"
