"""``next`` can lead only to pages of this site: threat S9."""

import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit

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


@pytest.mark.parametrize(("verdict", "payload"), PAYLOADS)
def test_s9_payloads_stay_on_the_site(request_: Request, verdict: str, payload: str) -> None:
    followed = safe_next(request_, payload)
    assert followed in (payload, "/")
    if verdict == "follow":
        assert followed == payload
    elif verdict == "off-site":
        assert followed == "/"


@given(st.text("/\\.:@%25e#?;&=\t\r\n \x00aå") | st.text())
def test_s9_arbitrary_target_stays_on_the_site(request_: Request, text: str) -> None:
    followed = safe_next(request_, text)
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


def test_s9_a_backslash_behind_the_path_is_kept(request_: Request) -> None:
    """Threat S9. Browsers read a backslash as a slash in the path of a URL only. So a backslash
    after the path is allowed."""
    for target in (r"/find?path=C:\temp", r"/a#\b", r"/?\\evil.example", r"/a?b=\/\/c#\d"):
        assert safe_next(request_, target) == target
        assert urlsplit(urljoin("https://here.example/x", target)).netloc == "here.example"
    for target in (r"/\evil.example", r"/a\b", r"\evil.example", r"/a\?b", r"/.\evil?a"):
        assert safe_next(request_, target) == "/"
