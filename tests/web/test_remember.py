"""``session.remember``, tested through HTTP: whether a browser that is closed keeps the cookie."""

import re
from typing import Any

import pytest

from servers import Served
from site_under_test import Site
from web.limited_sessions import clock as clock
from web.limited_sessions import writes


@pytest.mark.parametrize(
    ("setting", "checked", "persists"),
    [
        ("yes", None, True),
        ("no", None, False),
        ("ask", False, False),
        ("ask", True, True),
    ],
)
def test_the_browser_keeps_the_cookie_as_the_setting_or_the_person_says(
    backend: Served, clock: Any, setting: str, checked: bool | None, persists: bool
) -> None:
    site = Site(backend.url, session__remember=setting)
    form = site.get("/login").form
    assert ("remember" in form.fields) == (checked is not None)
    if checked:
        form["remember"] = True
    form["username"] = "alice"
    form["password"] = "wrong"
    form = form.submit(status=401).form
    form["username"], form["password"] = "alice", "alice-password"
    if checked is not None:
        assert form["remember"].checked is checked
    (signed_in,) = writes(form.submit(status=303))
    clock.shift(901)
    (renewed,) = writes(site.get("/"))
    for written in (signed_in, renewed):
        assert bool(re.search("Max-Age=[1-9]", written)) is persists
        assert persists or "expires" not in written.lower()
    assert (site.opened().to_claims()["data"].get("remember")) is checked


@pytest.mark.parametrize("query", ["remember=1", "remember=0"])
@pytest.mark.parametrize("ticked", [True, False])
def test_the_box_decides_and_not_the_address_of_the_page(
    backend: Served, query: str, ticked: bool
) -> None:
    """Browsers send the sign-in form to the address of its page, which may have ``?remember=1``.
    Only the checkbox ``remember`` in the form decides whether the cookie is remembered."""
    site = Site(backend.url, session__remember="ask")
    form = site.get(f"/login?{query}").form
    assert form["remember"].checked is (query == "remember=1")
    form["username"], form["password"], form["remember"] = "alice", "alice-password", ticked
    form.submit(status=303)
    assert site.opened().remember is ticked
