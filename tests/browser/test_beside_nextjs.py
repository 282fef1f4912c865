"""Chromium uses the Pyramid site and the Next.js application of docs/nextjs.md, on one or two
hosts."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from webob import Response as Answer

from authapp.session.session import Session
from nextjs.places import DOMAIN
from nextjs.real_next import ACCESS, Both
from servers import LOGIN, REFRESH

pytestmark = pytest.mark.servers


@pytest.fixture
def both(next_and_pyramid: Both) -> Both:
    next_and_pyramid.backend.calls.clear()
    return next_and_pyramid


@pytest.fixture(scope="module", params=[5, 4], ids=["Auth.js 5", "next-auth 4"])
def two_hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    with closing(Both(request.param, tmp_path_factory.mktemp("next"), hosts=2)) as both:
        yield both


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with chromium.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert errors == []


def sign_in(page: Any, name: str, password: str = "") -> None:
    page.fill("[name=username]", name)
    page.fill("[name=password]", password or f"{name}-password")
    page.wait_for_selector("form:has([name=password]) button:enabled")
    page.press("[name=password]", "Enter")


def test_a_walk_over_both_applications(both: Both, page: Any) -> None:
    page.goto(both.url + "/")
    page.click("text=Private")
    page.wait_for_url("**/login?next=%2Fprivate*")
    sign_in(page, "alice")
    page.wait_for_url("**/private*")
    assert page.text_content("#user") == "alice@example.com"
    page.click("text=Your account")
    page.wait_for_url("**/account")
    assert "alice@example.com" in page.content()

    after = renew_on_the_way(both, page)
    with both.later(after):
        sign_out_at_pyramid(both, page)
        page.goto(both.url + "/private")
        page.wait_for_url("**/login?next=%2Fprivate")


def test_a_walk_over_two_hosts(two_hosts: Both, page: Any) -> None:
    both, account = two_hosts, two_hosts.pyramid_url + "/account"
    back = quote(both.url + "/private", safe="")
    page.goto(both.url + "/")
    page.click("text=Private")
    page.wait_for_url(f"{both.pyramid_url}/login?next={back}")
    sign_in(page, "alice")
    page.wait_for_url(both.url + "/private")
    assert page.text_content("#user") == "alice@example.com"
    page.click("text=Your account")
    page.wait_for_url(account)
    assert "alice@example.com" in page.content()
    assert domains(both, page) == ["." + DOMAIN]

    after = renew_on_the_way(both, page)
    with both.later(after + ACCESS + 5):
        # useSession() says where to renew, and Pyramid accepts the request from the other host.
        page.goto(both.url + "/")
        both.pyramid.requests.clear()
        session = "fetch('/api/auth/session').then((answer) => answer.json())"
        told = page.evaluate(session)
        assert told["error"] == "AccessTokenExpired"
        assert told["renewAt"] == both.pyramid_url + "/session"
        renew = "(url) => fetch(url, { credentials: 'include' }).then((answer) => answer.json())"
        assert page.evaluate(renew, told["renewAt"])["user"]["email"] == "alice@example.com"
        (asked,) = (each for each in both.pyramid.requests if each.path == "/session")
        assert asked.headers["Origin"] == both.url
        assert "error" not in page.evaluate(session)

        sign_out_at_pyramid(both, page)
        assert domains(both, page) == []
        page.goto(both.url + "/private")
        page.wait_for_url(f"{both.pyramid_url}/login?next={back}")

    # Now from the other application.
    page.goto(both.url + "/signin?callbackUrl=/private")
    sign_in(page, "bob")
    page.wait_for_url(both.url + "/private")
    page.goto(account)
    assert "bob@example.com" in page.content()
    assert domains(both, page) == ["." + DOMAIN]
    hold_three_cookies(both, page)
    with both.later(ACCESS + 5):  # nginx passes three cookies of both applications
        page.goto(both.url + "/private")
        assert page.text_content("#user") == "bob@example.com"
        assert page.evaluate(session)["user"]["email"] == "bob@example.com"
        assert domains(both, page) == ["." + DOMAIN] * 3
    page.goto(both.url + "/api/auth/signout")
    page.click("form button")
    page.wait_for_url(f"{both.pyramid_url}/login?next={back}")  # through /private, the last page
    assert domains(both, page) == []
    page.goto(account)
    page.wait_for_url("**/login?next=%2Faccount")


def hold_three_cookies(both: Both, page: Any) -> None:
    """Make the session in the browser so long that it needs three cookies."""
    (cookie,) = (each for each in page.context.cookies() if each["name"] == both.name)
    claims = both.sealer.open(cookie["value"]).to_claims()
    token = both.sealer.seal(Session.from_claims({**claims, "more": "x" * 6500}))
    page.context.clear_cookies(name=both.name)
    parts = [token[at : at + 3900] for at in range(0, len(token), 3900)]
    page.context.add_cookies(
        [
            {**cookie, "name": f"{both.name}.{number}", "value": part}
            for number, part in enumerate(parts)
        ]
    )


def domains(both: Both, page: Any) -> list[str]:
    """Return the domains of the session cookies in the browser."""
    return [each["domain"] for each in page.context.cookies() if each["name"].startswith(both.name)]


def renew_on_the_way(both: Both, page: Any) -> int:
    """Renew the session three times, each time after its access token has expired.

    A page renews the session first, then a link of Next.js, then a script.

    :returns: the seconds between the sign-in and the last renewal.
    """
    before = both.backend.calls[REFRESH]
    for number, path in enumerate(("/private", "/", "/whoami"), 1):
        with both.later(number * (ACCESS + 5)):
            page.goto(both.url + path)
            if path == "/":
                page.click("text=Private")
            if path == "/whoami":
                page.click("text=Who am I?")
                page.wait_for_selector("button:has-text('alice@example.com')")
            else:
                page.wait_for_selector("#user:has-text('alice@example.com')")
                assert page.url.startswith(both.url + "/private")
            assert both.backend.calls[REFRESH] == before + number
    return number * (ACCESS + 5)


def sign_out_at_pyramid(both: Both, page: Any) -> None:
    page.goto(both.url + "/private")
    page.click("text=Sign out")
    page.wait_for_url(both.pyramid_url + "/logout")
    page.click("main button")
    page.wait_for_url("**/login?reason=SignedOut")


def test_the_form_of_nextjs_says_what_happened(both: Both, page: Any) -> None:
    both.backend.instead[LOGIN] = Answer(status=503)
    for sentence in ("not possible at the moment", "password is wrong"):
        page.goto(both.url + "/signin?callbackUrl=/private")
        sign_in(page, "bob", "wrong")
        page.wait_for_selector(f"[role=alert]:has-text('{sentence}')")
        both.backend.instead.clear()
    page.goto(both.url + "/signin?callbackUrl=/private")
    sign_in(page, "bob")
    page.wait_for_url("**/private")
    assert page.text_content("#user") == "bob@example.com"
    page.goto(both.url + "/account")
    assert "bob@example.com" in page.content()
