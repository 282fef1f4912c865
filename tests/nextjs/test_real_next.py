"""The code of docs/nextjs.md in a real Next.js, which runs together with Pyramid behind nginx."""

import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from webob import Response as Answer

from authapp.cli.commands import authapp
from authapp.session.encryption import fingerprint
from authapp.settings.route_settings import PATHS
from nextjs.places import found
from nextjs.real_next import ACCESS, BUFFER, SECRET, Both, Browser
from servers import LOGIN, REFRESH
from servers.simplejwt_server import Django, serve_django

pytestmark = pytest.mark.servers

DUE, EXPIRED = ACCESS - BUFFER, ACCESS
MOMENTS = [DUE + 1, *range(DUE + 11, EXPIRED - 10, 11), EXPIRED - 5]
"""Moments in seconds after the sign-in. At each moment the session is due, and its access token is
valid for at least 5 seconds more. No response takes longer than 5 seconds."""


@pytest.fixture
def both(next_and_pyramid: Both) -> Both:
    return next_and_pyramid


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Django]:
    with serve_django(tmp_path_factory.mktemp("django"), ACCESS, 3600) as django:
        yield django


@pytest.fixture
def browser(both: Both) -> Iterator[Browser]:
    both.backend.instead.clear()
    both.backend.calls.clear()
    yield Browser(both)
    both.backend.instead.clear()


def test_all_paths_of_authapp_go_to_pyramid() -> None:
    (paths,) = re.findall(r"location ~ (\S+) \{", found("nginx")[0])
    for path in {*PATHS.values(), "/authapp-static/site.css"} - {PATHS["home"], PATHS["verify"]}:
        assert re.match(paths, path), path
    for path in ("/", "/private", "/api/auth/session", "/signin", "/loginx", "/_next/static/x.js"):
        assert not re.match(paths, path), path


def test_next_reads_the_secret_as_it_is_and_prints_its_fingerprint(both: Both) -> None:
    assert f"session secret {fingerprint(SECRET.encode())}" in both.log
    assert SECRET not in both.log


def test_authapp_check_prints_the_same_fingerprint_for_the_file_of_the_guide(
    tmp_path: Path,
) -> None:
    (tmp_path / "production.ini").write_text(found("ini")[0])
    (tmp_path / "secret.txt").write_text(f"{SECRET}\n")
    checked = CliRunner().invoke(authapp, ["check", str(tmp_path / "production.ini")])
    assert fingerprint(SECRET.encode()) in checked.output
    assert checked.exit_code == 0, checked.output


def test_sign_in_and_sign_out_apply_to_both(both: Both, browser: Browser) -> None:
    assert browser.open("/private").headers["Location"] == both.url + "/login?next=%2Fprivate"
    assert browser.open("/api/me").json() == {"state": "nobody", "renewAt": "/session"}
    assert browser.sign_in_at_next().status_code == 302
    assert "alice@example.com" in browser.open("/private").text
    assert browser.open("/api/me").json()["user"]["roles"] == ["admin"]
    assert "alice@example.com" in browser.open("/account").text
    token = browser.open("/api/auth/csrf").json()["csrfToken"]
    browser.open("/api/auth/signout", {"csrfToken": token})
    assert browser.token() == ""
    assert browser.open("/session").json()["user"] is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, "CredentialsSignin"),
        (Answer(status=503), "BackendUnavailable"),
        (Answer(status=429), "TooManyAttempts"),
        (Answer(status=200, body=b"<html>"), "BackendUnavailable"),
    ],
)
def test_only_a_wrong_password_is_called_one(
    both: Both, browser: Browser, answer: Answer | None, error: str
) -> None:
    if answer:
        both.backend.instead[LOGIN] = answer
    location = browser.sign_in_at_next(password="wrong").headers["Location"]
    while "/api/auth/" in location:  # next-auth 4 redirects to its own error page first
        location = browser.open(location.removeprefix(both.url)).headers["Location"]
    assert re.search(rf"/signin\?(callbackUrl=[^&]*&)?error={error}(&|$)", location)
    assert browser.token() == ""


def test_an_expired_session_is_renewed_on_the_way_through_pyramid(
    both: Both, browser: Browser
) -> None:
    browser.sign_in_at_next()
    with both.later(EXPIRED + 5):
        refused = browser.open("/api/me")
        assert (refused.status_code, refused.json()["state"]) == (401, "to-renew")
        assert browser.send("/private", {"a": "form"}).status_code == 303, "not with its body"
        way = browser.open("/private?a=1&b=2")
        assert way.status_code == 303
        back = browser.open(way.headers["Location"].removeprefix(both.url))
        assert back.status_code == 303
        assert back.headers["Location"].removeprefix(both.url) == "/private?a=1&b=2"
        assert "alice@example.com" in browser.open("/private?a=1&b=2").text
        assert both.backend.calls[REFRESH] == 1


def test_a_session_without_data_signs_nobody_in_and_is_no_error(
    both: Both, browser: Browser
) -> None:
    browser.sign_in_at_next()
    claims = browser.claims()
    del claims["data"]
    # authapp writes no such session, so the cookie is encrypted without its help.
    browser.cookies[both.name] = both.seal(claims)
    assert browser.open("/private").headers["Location"] == both.url + "/login?next=%2Fprivate"
    assert browser.open("/api/me").json()["state"] == "nobody"
    assert browser.open("/api/auth/session").json()["error"] == "SessionInvalid"
    assert browser.open("/session").json()["user"] is None


def test_chunked_sessions_pass_nginx_on_both_sides(both: Both, browser: Browser) -> None:
    browser.sign_in_at_next()
    browser.hold({**browser.claims(), "more": "x" * 6500})
    assert len([name for name in browser.cookies if name.startswith(both.name)]) == 3
    written = browser.open("/api/auth/session")
    assert written.status_code == 200
    assert f"{both.name}.2=" in written.headers["Set-Cookie"]
    assert "alice@example.com" in browser.open("/private").text
    with both.later(EXPIRED + 5):
        renewed = browser.open("/session")
        assert renewed.json()["user"]["id"] == 1
        assert f"{both.name}.2=" in renewed.headers["Set-Cookie"]
        assert "alice@example.com" in browser.open("/private").text


# The races, with a backend that revokes the family of a token that is spent twice.


ORDERS = ["Pyramid first", "Next.js first", "same moment, two tabs"]


@pytest.mark.parametrize("order", ORDERS)
def test_no_race_signs_the_user_out(both: Both, browser: Browser, order: str) -> None:
    signed_out = [moment for moment in MOMENTS if not survives(both, Browser(both), moment, order)]
    assert signed_out == []
    assert both.backend.calls[REFRESH] == len(MOMENTS), "each token was spent once"


def test_no_race_signs_the_user_out_with_simplejwt(
    both: Both, browser: Browser, django: Django
) -> None:
    """With SimpleJWT as the backend, 20 races sign nobody out. At each of the ten MOMENTS there are
    two races, with two of the three ORDERS."""
    rounds = list(zip(MOMENTS * 2, cycle(ORDERS), strict=False))
    with both.with_django(django):
        signed_out = [each for each in rounds if not survives(both, Browser(both), *each)]
    assert signed_out == []
    assert both.backend.calls[REFRESH] == len(rounds), "each token was spent once"


def test_the_same_races_sign_the_user_out_if_both_applications_renew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """If both applications renew, races sign the user out as often as docs/nextjs.md says. This
    shows that the tests above can detect a sign-out."""
    both = Both(5, tmp_path_factory.mktemp("next"), renews="")
    try:
        for order, kept in (("Pyramid first", 0), ("Next.js first", 3)):
            moments = MOMENTS[::4]
            assert sum(survives(both, Browser(both), each, order) for each in moments) == kept
        browser = Browser(both)
        browser.sign_in_at_next()
        with both.later(EXPIRED + 5):
            # The proxy, a page and a route handler only read: nothing is spent, nothing written.
            both.backend.calls.clear()
            for path in ("/private", "/api/me"):
                assert both.name not in browser.open(path).headers.get("Set-Cookie", "")
            assert both.backend.calls[REFRESH] == 0
        for order in ("Pyramid first", "Next.js first"):
            assert not survives(both, Browser(both), EXPIRED + 5, order)
    finally:
        both.close()


def survives(both: Both, browser: Browser, moment: int, order: str) -> bool:
    """Let both applications get requests with the same due session.

    :param moment: the seconds between the sign-in and the requests.
    :param order: in which order the applications respond. The browser keeps the last cookie.
    :returns: True if the user is still signed in after the access token has expired.
    """
    browser.sign_in_at_next()
    pyramid, nextjs = "/session", "/api/auth/session"
    with both.later(moment):
        if order == "Pyramid first":
            responses = [browser.send(pyramid), browser.send(nextjs)]
        elif order == "Next.js first":
            responses = [browser.send(nextjs), browser.send(pyramid)]
        else:
            responses = browser.at_once(pyramid, pyramid, nextjs, nextjs)
        browser.take(*responses)
        if not browser.open(nextjs).json():
            return False
    with both.later(max(moment, EXPIRED) + 6):
        # The user has stayed on Next.js. In both tabs, the access token has expired.
        session: dict[str, Any] = browser.open(nextjs).json() or {}
        if session.get("error") == "AccessTokenExpired":
            browser.take(*browser.at_once(pyramid, nextjs, pyramid, nextjs))
            browser.open(pyramid)
            session = browser.open(nextjs).json() or {}
        page = browser.open("/private")
        return session.get("error") is None and "alice@example.com" in page.text
