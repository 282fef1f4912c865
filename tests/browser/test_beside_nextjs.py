"""Chromium walks over the two applications of docs/nextjs.md, on one host behind nginx."""

from collections.abc import Iterator
from typing import Any

import pytest
from webob import Response as Answer

from nextjs.real_next import ACCESS, Both
from servers import LOGIN, REFRESH

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=[5, 4], ids=["Auth.js 5", "next-auth 4"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    made = Both(request.param, tmp_path_factory.mktemp("next"))
    yield made
    made.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with chromium.new_context() as context:
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

    # Each way to a valid session after the access token has expired: a page, a link of Next.js,
    # a script, and the page for two hosts.
    for number, path in enumerate(("/private", "/", "/whoami", "/renew?next=/private"), 1):
        with both.later(number * (ACCESS + 5)):
            page.goto(both.url + path)
            if path == "/":
                page.click("text=Private")
            if path == "/whoami":
                page.click("text=Who am I?")
                page.wait_for_selector("button:has-text('alice@example.com')")
            else:
                page.wait_for_url("**/private*")
                page.wait_for_selector("#user:has-text('alice@example.com')")
            assert both.backend.calls[REFRESH] == number
    with both.later(number * (ACCESS + 5) + 1):
        page.goto(both.url + "/logout")
        page.click("main button")
        page.wait_for_url("**/login?reason=SignedOut")
        page.goto(both.url + "/private")
        page.wait_for_url("**/login?next=%2Fprivate")


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
