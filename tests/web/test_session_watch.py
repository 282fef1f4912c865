"""A visible page asks ``/session/ended`` whether its session was ended elsewhere."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from authapp.web.session_watch import LATEST, MOST, Turns
from eventually import eventually
from servers import Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site


def ask(site: Site, **options: Any) -> dict[str, Any]:
    response = site.get("/session/ended", headers={"X-Authapp-Background": "1"}, **options)
    assert "Set-Cookie" not in response.headers
    assert response.headers["Cache-Control"] in ("no-store", "private, no-store")
    found: dict[str, Any] = response.json
    return found


def options(site: Site) -> Any:
    return json.loads(site.get("/").html.select_one("meta[name=authapp]")["content"])


def test_a_session_that_another_browser_ends_has_ended(site: Site) -> None:
    phone = Site(wsgi=site.app)
    site.sign_in()
    phone.sign_in()
    assert ask(phone)["ended"] is False
    site.post("/account/sessions", {"csrf_token": site.csrf(), "others": "1"}, status=303)
    assert ask(phone)["ended"] is True
    assert ask(site)["ended"] is False
    assert phone.get("/session").json["error"] == "SessionRevoked", "the answer kept the cookie"


@pytest.mark.parametrize("everywhere", [False, True])
def test_other_tabs_of_the_browser_that_signs_out_are_not_told(
    site: Site, everywhere: bool
) -> None:
    """While one tab signs out, other tabs of its browser still send the old cookie. The server does
    not tell these tabs that the session has ended, because the first tab tells them."""
    phone = Site(wsgi=site.app)
    site.sign_in()
    phone.sign_in()
    tab = site.twin()
    site.sign_out(everywhere=everywhere)
    assert ask(tab)["ended"] is False
    assert ask(phone)["ended"] is everywhere
    assert tab.get("/session").json["error"] == "SessionRevoked"


def test_other_tabs_of_a_browser_that_signs_in_again_are_not_told(site: Site) -> None:
    site.sign_in()
    tab = site.twin()
    csrf = site.csrf()
    fields = {"username": "bob", "password": "bob-password", "csrf_token": csrf}
    site.post("/login", fields, status=303)
    assert ask(tab)["ended"] is False


def test_no_session_is_not_an_ended_session(site: Site) -> None:
    assert ask(site)["ended"] is False
    site.set_cookie("authapp.session", "broken")
    assert ask(site)["ended"] is False


def test_the_answer_renews_nothing_and_needs_no_backend(site: Site, backend: Served) -> None:
    site.sign_in()
    until = site.opened().validity.refresh_until
    backend.calls.clear()
    for moment in (site.opened().validity.valid_until + 1, until + 1):
        with time_machine.travel(moment):
            assert ask(site)["ended"] is False
    assert not backend.calls


def test_another_process_knows_within_a_second(backend: Served, redis_server: RedisServer) -> None:
    here, there = (Site(backend.url, shared=redis_server.url) for _ in range(2))
    here.sign_in()
    there.sign_in()
    eventually(lambda: there.services.store._notices.moment() is not None)
    assert ask(there)["ended"] is False
    session = there.opened()
    for seconds in (900, 100):
        # An open page renews its session late, so the session is due for some minutes.
        validity = replace(session.validity, valid_until=int(time.time()) + seconds)
        due = replace(session, validity=validity, issued_at=int(time.time()) + seconds - 900)
        (cookie,) = [each for each in there.cookiejar if each.name == COOKIE]
        cookie.value = there.services.sealer.seal(due)
        assert there.opened().validity == validity
        calls = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
        for _ in range(20):
            assert ask(there)["ended"] is False
        again = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
        assert again - calls <= 5, "only the heartbeats of the channel ask Redis"
    here.post("/account/sessions", {"csrf_token": here.csrf(), "others": "1"}, status=303)
    assert eventually(lambda: ask(there)["ended"]) < 1


def test_pages_of_users_have_the_address(site: Site) -> None:
    assert options(site)["watch"] is None
    site.sign_in()
    assert options(site)["watch"] == "/session/ended"


def test_the_route_can_be_left_out(backend: Served) -> None:
    site = Site(backend.url, routes__session_ended="none")
    site.sign_in()
    assert options(site)["watch"] is None
    site.get("/session/ended", status=404)


def test_few_pages_ask_once_in_a_second() -> None:
    now = 100.0
    turns = Turns(lambda: now)
    for _ in range(5):
        assert turns.take("a browser") == pytest.approx(1, abs=0.3)
        now += 1


@pytest.mark.parametrize(
    ("browsers", "early"), [(5, 0), (MOST, 0), (200, 0), (200, 0.5), (MOST * int(LATEST), 0.5)]
)
def test_many_pages_take_turns(browsers: int, early: float) -> None:
    """All browsers ask for the first time at the same moment. Then each asks again at about the
    time that the server has named. Together they ask at most MOST times a second."""
    now = 0.0
    turns = Turns(lambda: now)
    due = [0.0] * browsers
    asked = 0
    while now < 180:
        for each, moment in enumerate(due):
            if moment <= now:
                due[each] = now + turns.take(str(each)) - early
                asked += now >= 120
        now = min(due)
    assert asked / 60 == pytest.approx(min(browsers, MOST), rel=0.1)


@given(st.lists(st.floats(0, 100), max_size=300))
def test_many_new_browsers_delay_a_page_for_a_minute_at_most(pauses: list[float]) -> None:
    now = 0.0
    turns = Turns(lambda: now)
    for each, pause in enumerate(pauses):
        now += pause / 1000
        assert 1 <= round(turns.take(str(each)), 6) <= LATEST
    for each in range(5000):
        turns.take(f"more {each}")
    assert turns.take("a page") <= LATEST
    now += LATEST
    assert turns.take("a page") == 1
    assert len(turns._turns) == 1, "turns that have come are forgotten"


@pytest.mark.parametrize("per_second", [10, 1000])
def test_a_browser_that_asks_without_a_pause_delays_nobody(per_second: int) -> None:
    now = 0.0
    turns = Turns(lambda: now)
    waits = []
    for each in range(10 * per_second):
        now = each / per_second
        turns.take("impatient")
        if now == int(now):
            waits.append(turns.take("patient"))
    assert max(waits) < 1.2


def test_visitors_delay_no_user(site: Site) -> None:
    """Visitors without a session can send many requests to ``/session/ended``. The pages of
    signed-in users still may ask again after a short time."""
    stranger = Site(wsgi=site.app)
    site.sign_in()
    for _ in range(100):
        assert ask(stranger)["again"] == LATEST
    assert ask(site)["again"] < 1.5
