"""``session.idle`` and ``session.absolute``, tested through HTTP."""

import time
from typing import Any

import pytest
from webob import Response as Answer

from authapp.session.session import Session
from authapp.settings.ini import SettingsError
from eventually import eventually
from servers import REFRESH, Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site
from web.limited_sessions import clock as clock
from web.limited_sessions import writes

IDLE = 600
BACKGROUND = {"X-Authapp-Background": "1"}
PREFETCH = {"Sec-Purpose": "prefetch;prerender"}


@pytest.fixture
def site(backend: Served) -> Site:
    return Site(backend.url, session__idle=str(IDLE))


def error(site: Site, **headers: str) -> Any:
    return site.get("/session", headers=BACKGROUND | headers).json["error"]


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
