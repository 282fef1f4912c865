"""``session.idle``, ``session.absolute`` and ``session.remember``, tested through HTTP."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import time_machine
from webob import Response as Answer

from authapp.session.session import Session, Validity
from authapp.session.session_limits import SessionLimits
from authapp.settings.ini import SettingsError
from eventually import eventually
from servers import REFRESH, Served
from servers.redis_server import RedisServer
from session.test_session import NOW, make
from site_under_test import COOKIE, Site

IDLE = 600
BACKGROUND = {"X-Authapp-Background": "1"}
PREFETCH = {"Sec-Purpose": "prefetch;prerender"}


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        yield clock


@pytest.fixture
def site(backend: Served) -> Site:
    return Site(backend.url, session__idle=str(IDLE))


def error(site: Site, **headers: str) -> Any:
    return site.get("/session", headers=BACKGROUND | headers).json["error"]


def writes(answer: Any) -> list[str]:
    """Return the ``Set-Cookie`` headers of a response that are about the session cookie."""
    return [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE + "=")]


# Pure functions.


def test_no_limits_change_nothing() -> None:
    limits, session = SessionLimits(), make()
    assert limits.limit(session.validity, 0) is session.validity
    assert limits.idle_until(session) is None
    assert not limits.is_idle(session, NOW + 10**9)
    assert not limits.must_record(session, NOW + 10**9)


def test_the_absolute_limit_counts_from_the_sign_in() -> None:
    limits = SessionLimits(absolute=1000)
    assert limits.limit(Validity(NOW + 900, NOW + 5000), NOW) == Validity(NOW + 900, NOW + 1000)
    short = Validity(NOW + 900, NOW + 999)
    assert limits.limit(short, NOW) is short


def test_a_renewal_is_not_a_use_and_another_application_is() -> None:
    session = replace(make(), used_at=NOW + 5)
    read = Session.from_claims(session.to_claims())
    assert read.last_used == NOW + 5
    renewed = read.renewed(read.identity, read.tokens, read.validity, NOW + 500)
    assert Session.from_claims(renewed.to_claims()).last_used == NOW + 5
    # Next.js keeps unknown members and writes a new iat.
    assert Session.from_claims(renewed.to_claims() | {"iat": NOW + 700}).last_used == NOW + 700
    assert Session.from_claims(renewed.to_claims() | {"iat": NOW}).last_used == NOW + 5


def test_a_session_without_a_recorded_use_was_used_when_it_was_written() -> None:
    session = make()
    assert session.last_used == NOW
    assert session.renewed(
        session.identity, session.tokens, session.validity, NOW + 9
    ).last_used == (NOW)
    for odd in (None, [], {"at": "x"}, {"at": -1}, {"at": True}, {"at": 1e300}, {"iat": NOW}):
        claims = session.to_claims()
        claims["data"]["used"] = odd
        assert Session.from_claims(claims).last_used == NOW
    for odd in (None, "yes", 1):
        claims["data"]["remember"] = odd
        assert Session.from_claims(claims).remember is None


# Idle.


def test_a_session_ends_when_the_person_has_not_used_it(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(IDLE - 1)
    assert site.get("/account", headers={"Accept": "text/html"}, status=200)
    clock.shift(IDLE - 1)
    twin = site.twin()
    assert error(site) is None
    clock.shift(1)
    assert error(site) == "SessionIdle"
    assert COOKIE not in site.cookies
    answer = twin.get("/account", headers={"Accept": "text/html"}, status=303)
    assert answer.location == "/login?next=%2Faccount&reason=SessionIdle"
    assert "had not used the site" in twin.get(answer.location)
    assert twin.get("/account", headers={"Accept": "application/json"}, status=401)


@pytest.mark.parametrize(
    ("key", "code"),
    [("session__idle", "SessionIdle"), ("session__absolute", "RefreshTokenExpired")],
)
def test_a_limit_can_be_a_single_second(backend: Served, clock: Any, key: str, code: str) -> None:
    site = Site(backend.url, **{key: "1"})
    site.sign_in()
    clock.shift(0.5)
    site.get("/account", headers={"Accept": "text/html"}, status=200)
    held = site.cookie_header()
    clock.shift(0.5)
    assert error(site, **held) == code
    with pytest.raises(SettingsError, match=r"must be whole seconds from 1 to"):
        Site(backend.url, **{key: "0"})


@pytest.mark.parametrize(
    "headers",
    [
        BACKGROUND,
        PREFETCH,
        {"Sec-Purpose": "Prefetch"},
        {"Purpose": "prefetch"},
        {"X-Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
    ],
)
def test_background_requests_and_prefetches_do_not_keep_a_session(
    site: Site, clock: Any, headers: dict[str, str]
) -> None:
    site.sign_in()
    for _ in range(5):  # renews twice in this time
        clock.shift(IDLE / 5 - 1)
        assert site.get("/", headers=headers, status=200)
    assert error(site) is None
    clock.shift(5)
    assert error(site) == "SessionIdle"


def test_reading_keeps_a_session_with_few_cookies(site: Site, clock: Any) -> None:
    site.sign_in()
    written = 0
    for _ in range(100):
        clock.shift(IDLE / 40)
        written += len(writes(site.get("/")))
    assert error(site) is None
    assert 20 <= written <= 28  # a tenth of the idle time passed 25 times


def test_a_renewal_by_the_script_moves_neither_limit(backend: Served, clock: Any) -> None:
    site = Site(backend.url, session__idle=str(IDLE), session__absolute="1000")
    site.sign_in()
    clock.shift(500)
    headers = {"X-CSRF-Token": site.csrf()}  # a request that counts as a use
    assert site.post("/session", headers=headers | BACKGROUND, status=200)
    assert site.opened().validity.refresh_until == 1_900_001_000
    clock.shift(499)
    site.get("/")
    kept = site.cookie_header()
    clock.shift(1)
    assert error(site, **kept) == "RefreshTokenExpired"


def test_the_absolute_limit_holds_for_cookies_that_say_more(backend: Served, clock: Any) -> None:
    """If a cookie was written before ``session.absolute`` was set, its session has a later end. The
    setting still limits this session."""
    before = Site(backend.url)
    before.sign_in()
    site = Site(backend.url, session__absolute="1000")
    site.cookiejar = before.cookiejar
    assert site.get("/session").json["validity"]["refresh_until"] == 1_900_001_000
    clock.shift(950)
    assert site.get("/session").json["validity"]["refresh_until"] == 1_900_001_000
    kept = site.cookie_header()
    clock.shift(50)
    assert error(site, **kept) == "RefreshTokenExpired"


def test_a_session_that_another_tab_uses_is_not_idle(site: Site, clock: Any) -> None:
    """If one tab uses the session, the session is not idle for a request of another tab that still
    sends an older cookie."""
    site.sign_in()
    slow = site.twin()
    clock.shift(IDLE - 1)
    site.get("/")
    clock.shift(10)
    answer = slow.get("/session", headers=BACKGROUND)
    assert answer.json["user"]
    assert writes(answer)
    assert slow.opened().last_used == 1_900_000_000 + IDLE - 1
    # The same with an access token that has expired.
    older = site.twin()
    clock.shift(IDLE - 20)
    site.get("/")
    clock.shift(IDLE - 30)
    assert older.get("/session", headers=BACKGROUND).json["user"]


def test_a_session_that_another_application_uses_is_not_idle(site: Site, clock: Any) -> None:
    """If Next.js writes the session cookie with a new ``iat``, this counts as a use of the session,
    whether Next.js keeps or drops authapp's time of the last use."""
    for drops in (False, True):
        site.sign_in()
        clock.shift(IDLE - 1)
        session = site.opened()
        claims = session.to_claims() | {"iat": int(time.time())}
        if drops:
            del claims["data"]["used"]
        rewritten = site.services.sealer.seal(Session.from_claims(claims))
        clock.shift(IDLE - 1)
        header = {"Cookie": f"{COOKIE}={rewritten}"}
        assert site.get("/session", headers=header | BACKGROUND).json["user"]
        clock.shift(1)
        assert site.get("/session", headers=header | BACKGROUND).json["error"] == "SessionIdle"
        site.reset()


def test_a_machine_whose_clock_is_ahead_keeps_nothing_alive(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(3600)
    future = site.twin()
    future.sign_in("alice")  # on a machine whose clock is an hour ahead
    clock.shift(-3600)
    assert future.get("/session").json["user"]
    assert future.opened().last_used == 1_900_000_000, "the first use here has put it right"
    clock.shift(IDLE)
    assert error(future) == "SessionIdle"


def test_a_person_stays_signed_in_while_the_backend_is_down(
    site: Site, backend: Served, clock: Any
) -> None:
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=503)
    for _ in range(8):
        clock.shift(IDLE / 2)
        site.get("/")
    assert error(site) == "BackendUnavailable"
    del backend.instead[REFRESH]
    eventually(lambda: site.get("/session").json["user"])


def test_an_idle_cookie_does_not_hide_an_active_session(site: Site, clock: Any) -> None:
    site.sign_in()
    idle = site.token()
    site.reset()
    clock.shift(IDLE - 1)
    site.sign_in()
    clock.shift(10)
    header = {"Cookie": f"{COOKIE}={idle}; {COOKIE}={site.token()}"}
    assert site.get("/session", headers=header).json["user"]
    header = {"Cookie": f"{COOKIE}={site.token()}; {COOKIE}={idle}"}
    assert site.get("/session", headers=header).json["user"]


def test_the_script_learns_when_the_session_becomes_idle(site: Site, clock: Any) -> None:
    assert "idle_until" not in site.get("/session").json
    site.sign_in()
    clock.shift(100)
    answer = site.get("/session", headers=BACKGROUND).json
    assert (answer["idle"], answer["idle_until"]) == (IDLE, 1_900_000_000 + IDLE)
    assert site.get("/session").json["idle_until"] == 1_900_000_100 + IDLE
    page = site.get("/")
    assert f"idle_until&#34;: {1_900_000_100 + IDLE}" in page


def test_a_renewal_by_a_person_is_recorded(site: Site, clock: Any) -> None:
    site.sign_in()
    clock.shift(100)
    before = site.opened().tokens
    answer = site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=200)
    assert answer.json["idle_until"] == 1_900_000_100 + IDLE
    assert site.opened().tokens != before
    assert site.opened().last_used == 1_900_000_100


def test_two_processes_agree_while_redis_is_down(
    backend: Served, redis_server: RedisServer, clock: Any
) -> None:
    sites = [Site(backend.url, session__idle=str(IDLE), shared=redis_server.url) for _ in range(2)]
    one, other = sites
    one.sign_in()
    other.cookiejar = one.cookiejar
    redis_server.stop()
    clock.shift(IDLE / 2)
    other.get("/")
    clock.shift(IDLE - 1)
    assert error(one) is None
    clock.shift(1)
    assert error(one) == "SessionIdle"
    for site in sites:
        site.services.store._connection.client.connection_pool.disconnect()


# Remember.


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


def test_a_session_that_was_never_asked_is_remembered() -> None:
    assert SessionLimits(remember="ask").cookie_lifetime(make(), NOW) == 604_800
    assert (
        SessionLimits(remember="yes").cookie_lifetime(replace(make(), remember=False), NOW)
        == 604_800
    )
    assert SessionLimits(remember="no").cookie_lifetime(replace(make(), remember=True), NOW) is None
    assert SessionLimits().cookie_lifetime(make(), NOW + 10**9) == 0
