"""What a response writes to the index of sessions while other requests use the session."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import time_machine

from authapp.renewal.session_index import MOST
from authapp.web import cookie_writer
from servers import Served
from site_under_test import COOKIE, Site, application
from web.test_recent_auth import HTML, START, again, pages


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen while the next response encrypts the session for its cookie."""
    encrypt = cookie_writer.cookies_for

    def cookies_for(*args: Any) -> list[str]:
        monkeypatch.undo()
        act()
        return encrypt(*args)

    monkeypatch.setattr(cookie_writer, "cookies_for", cookies_for)


def test_a_late_response_does_not_move_the_sign_in_back(
    backend: Served, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user signs in again during a renewal in another tab. The index keeps the time of the new
    sign-in, although the renewal writes to the index last. From this time, authapp sees that a
    third tab has an older cookie, and writes no session cookie for that tab."""
    site = application(backend.url, pages)
    site.sign_in()
    late, later = site.twin(), site.twin()
    csrf = {"X-CSRF-Token": late.csrf()}
    clock.shift(301)
    meanwhile(monkeypatch, lambda: again(site, status=303))
    late.post("/session", headers=csrf, status=200)
    (entry,) = site.services.index.of(site.opened().identity.id)
    assert entry.signed_in == site.opened().authenticated_at == START + 301
    answer = later.post("/session", headers=csrf, status=200)
    assert not [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]


def test_a_background_request_does_not_undo_a_use(
    backend: Served, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user uses the session in one tab during a background request of another tab. The index
    keeps the time of this use. So the next background request does not find the session idle."""
    site = Site(backend.url, session__idle="1000")
    site.sign_in()
    background, tab = site.twin(), site.twin()
    clock.shift(950)
    meanwhile(monkeypatch, lambda: tab.get("/account", headers=HTML, status=200))
    background.get("/session", headers={"X-Authapp-Background": "1"}, status=200)
    (entry,) = site.services.index.of(tab.opened().identity.id)
    assert entry.last_seen == START + 950
    clock.shift(60)
    assert background.get("/session").json["error"] is None


def test_a_sign_in_takes_the_place_of_the_session_that_it_replaces(
    backend: Served, clock: Any
) -> None:
    """If a sign-in replaces a session, the new session takes its place in the index. So no other
    session of the user is dropped, even if the index has no free place."""
    site = Site(backend.url)
    form = site.get("/login").form
    site.sign_in()
    mine = site.opened()
    others = [replace(mine, sid=f"s{number}") for number in range(MOST - 1)]
    for each in others:
        clock.shift(1)
        site.services.index.record(replace(each, used_at=int(time.time())), "Firefox", "")
    clock.shift(61)
    site.get("/account", headers=HTML, status=200)
    form["username"], form["password"] = "alice", "alice-password"
    form.submit(status=303)
    listed = [each.session.sid for each in site.services.index.of(mine.identity.id)]
    assert sorted(listed) == sorted([site.opened().sid, *(each.sid for each in others)])
