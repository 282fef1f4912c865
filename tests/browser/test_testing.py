"""``authapp.testing`` signs a Playwright browser in without the sign-in form."""

from typing import Any

import pytest

from authapp.testing import assert_session, make_session, playwright_cookies, session_of, sign_in
from servers import Served
from site_under_test import Site


@pytest.mark.parametrize("phase", ["fresh", "expired"])
def test_a_browser_is_signed_in_as_anybody(chromium: Any, phase: str) -> None:
    site = Site("http://127.0.0.1:9")
    with Served(site.app) as served, chromium.new_context() as context:
        url = served.url + "/account"
        assert session_of(context, site.app, url=url) is None
        context.add_cookies([{"name": "another", "value": "1", "url": url}])
        sign_in(context, site.app, url=url, id=1, name="Old", claims={"long": "x" * 3000})
        sign_in(context, site.app, url=url, id=2, name="Bianca", phase=phase)
        assert "another" in [each["name"] for each in context.cookies(url)]
        page = context.new_page()
        answer = page.goto(url)
        assert answer.status == (200 if phase == "fresh" else 503)
        assert "Bianca" in page.content()  # the page of a kept session names the user too
        assert_session(context, site.app, url=url, id=2, phase=phase)


def test_cookies_can_be_given_to_a_browser_by_hand(chromium: Any) -> None:
    site = Site("http://127.0.0.1:9")
    with Served(site.app) as served, chromium.new_context() as context:
        session = make_session(site.app, id=3, name="Carla")
        context.add_cookies(playwright_cookies(site.app, session, served.url))
        page = context.new_page()
        page.goto(served.url + "/account")
        assert "Carla" in page.content()
