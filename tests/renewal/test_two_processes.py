"""Processes that share a Redis spend each refresh token once.

Two applications in one process stand for the two processes.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import time_machine
from webob import Response as Answer

from authapp.issuer import main as issuer
from authapp.store.protocol import Key
from authapp.store.redis_leases import RedisLeases
from eventually import eventually
from servers import ISSUER_SETTINGS, LOGIN, NOT_VALID, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import COOKIE, SECRET, Site

DUE, EXPIRED = 601, 901


def later(seconds: float) -> Any:
    return time_machine.travel(time.time() + seconds)


IMPATIENT = pytest.mark.parametrize("sites", ["0"], indirect=True, ids=["patience 0"])
"""Marks a test in which each process renews without a lease as soon as Redis is down."""


@pytest.fixture
def sites(backend: Served, redis_server: RedisServer, request: pytest.FixtureRequest) -> Any:
    """Yield two applications, each with a browser. Both browsers have the same signed-in
    session."""
    patience = getattr(request, "param", "120")
    made = [
        Site(backend.url, shared=patient(redis_server.url), shared__patience=patience)
        for _ in range(2)
    ]
    made[0].sign_in()
    for cookie in made[0].cookiejar:
        made[1].cookiejar.set_cookie(cookie)
    yield made
    for site in made:
        site.services.store._connection.client.connection_pool.disconnect()


def page(site: Site, **options: Any) -> Any:
    headers = {"Accept": "text/html", **options.pop("headers", {})}
    return site.get("/account", headers=headers, **options)


def wait_until_the_lease_is_polled(redis_server: RedisServer) -> None:
    """Wait until a process that waits for the lease has asked Redis for it several times."""

    def asked() -> int:
        return int(redis_server.client.info("commandstats")["cmdstat_set"]["calls"])

    enough = asked() + 3
    eventually(lambda: asked() >= enough, 5)


def blocked(backend: Served, path: str = REFRESH) -> tuple[Event, Event]:
    """Make the backend handle each request, and then block the response.

    :returns: an event that is set when a request arrives, and an event that ends the blocking.
    """
    come, go = Event(), Event()

    def wait(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        come.set()
        assert go.wait(10)
        return answer

    backend.instead[path] = wait
    return come, go


def one_renews_the_other_waits(
    sites: list[Site],
    redis_server: RedisServer,
    come: Event,
    go: Event,
    status: int = 200,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Send a request to each of the two sites. The first site waits for the backend, and the second
    site waits for the renewal of the first.

    :param come: an event that is set when the first site has called the backend.
    :param go: an event that makes the backend respond.
    :param status: the status that both responses must have.
    :param meanwhile: a function that is called while both sites wait.
    :returns: the responses of both sites.
    """
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(page, sites[0], status=status)
        assert come.wait(20)
        second = pool.submit(page, sites[1], status=status)
        wait_until_the_lease_is_polled(redis_server)
        meanwhile()
        go.set()
        return [first.result(20), second.result(5)]


def test_two_processes_share_one_renewal(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    come, go = blocked(backend)
    with later(EXPIRED):
        one_renews_the_other_waits(sites, redis_server, come, go)
    assert backend.calls[REFRESH] == 1
    assert sites[0].opened().tokens == sites[1].opened().tokens


def test_a_request_with_the_old_cookie_asks_redis_once(
    sites: list[Site], redis_server: RedisServer
) -> None:
    """After a renewal, a request with the old cookie usually causes one read of Redis and no write.
    More commands would slow down a burst of such requests."""
    old = sites[1].cookies[COOKIE]

    def commands() -> tuple[int, int]:
        found = redis_server.client.info("commandstats")
        return found["cmdstat_mget"]["calls"], found["cmdstat_set"]["calls"]

    def asked() -> tuple[int, int]:
        sites[1].reset()
        before = commands()
        answer = page(sites[1], headers={"Cookie": f"{COOKIE}={old}"}, status=200)
        assert "Set-Cookie" in answer.headers
        return commands()[0] - before[0], commands()[1] - before[1]

    with later(EXPIRED):
        page(sites[0], status=200)
        # From time to time a request reads the chain of successors, or writes the time of its use.
        assert min(asked() for _ in range(10)) == (1, 0)


def test_sign_out_wins_over_a_successor_that_was_just_found(
    sites: list[Site], backend: Served
) -> None:
    """A process that has found the successor of an old cookie does not look for it again for a
    quarter of a second. If the user signs out in this time, no response sets the cookie. The
    process that signs the user out refuses the old cookie at once, the other a little later."""
    old = {"Cookie": f"{COOKIE}={sites[1].token()}"}
    browsers = [Site(wsgi=site.app) for site in sites]

    def answer(browser: Site) -> int:
        browser.reset()
        status: int = page(browser, headers=old).status_code
        return status

    with later(EXPIRED):
        page(sites[0], status=200)
        for browser in browsers:
            assert answer(browser) == 200
        sites[0].sign_out()
        assert answer(browsers[0]) == 303
        for _ in range(3):
            answer(browsers[1])
            assert COOKIE not in browsers[1].cookies
        eventually(lambda: answer(browsers[1]) == 303)
    assert backend.calls[REFRESH] == 1


def test_a_session_that_was_found_signed_out_stays_so_when_redis_goes_down(
    sites: list[Site], redis_server: RedisServer
) -> None:
    """If a process finds both the successor of an old cookie and a sign-out, it does not use the
    successor later, when Redis no longer responds."""
    old = {"Cookie": f"{COOKIE}={sites[1].token()}"}
    sites[1].reset()
    with later(EXPIRED):
        page(sites[0], status=200)
        sites[0].sign_out()
        assert page(sites[1], headers=old).status_code == 303
        redis_server.stop()
        assert page(sites[1], headers=old, expect_errors=True).status_code == 503
    assert COOKIE not in sites[1].cookies


def test_due_session_does_not_block_the_other_process(sites: list[Site], backend: Served) -> None:
    come, go = blocked(backend)
    with later(DUE), ThreadPoolExecutor(1) as pool:
        first = pool.submit(page, sites[0], status=200)
        assert come.wait(20)
        assert "Set-Cookie" not in page(sites[1], status=200).headers
        go.set()
        first.result(20)
    assert backend.calls[REFRESH] == 1


def test_other_process_waits_no_longer_than_the_backend_timeout(
    backend: Served, redis_server: RedisServer
) -> None:
    one = Site(backend.url, shared=patient(redis_server.url), backend__timeout="15")
    two = Site(backend.url, shared=patient(redis_server.url), backend__timeout="0.2")
    one.sign_in()
    for cookie in one.cookiejar:
        two.cookiejar.set_cookie(cookie)
    come, go = blocked(backend)
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        first = pool.submit(page, one, status=200)
        assert come.wait(20)
        page(two, status=503)
        go.set()
        first.result(20)
    for site in (one, two):
        site.services.store._connection.client.connection_pool.disconnect()


def test_rejection_is_known_to_the_other_process(sites: list[Site], backend: Served) -> None:
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        for site in sites:
            assert "RefreshTokenRejected" in page(site, status=303).location
    assert backend.calls[REFRESH] == 1


def test_rejection_reaches_the_waiting_process(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    come, go = Event(), Event()

    def reject(request: Any) -> Answer:
        come.set()
        assert go.wait(5)
        return Answer(status=401, json_body=NOT_VALID)

    backend.instead[REFRESH] = reject
    with later(EXPIRED):
        _, second = one_renews_the_other_waits(sites, redis_server, come, go, 303)
        assert "RefreshTokenRejected" in second.location
    assert backend.calls[REFRESH] == 1


@pytest.mark.parametrize(("signed_out", "status"), [(False, 503), (True, 303)])
def test_r3_failure_reaches_the_waiting_process(
    sites: list[Site], backend: Served, redis_server: RedisServer, signed_out: bool, status: int
) -> None:
    """Threat R3. If a renewal fails, a process that waits for this renewal gets the failure too.
    The waiting process does not call the backend again at once."""
    come, go = Event(), Event()

    def fail(request: Any) -> Answer:
        come.set()
        assert go.wait(5)
        return Answer(status=500)

    backend.instead[REFRESH] = fail

    def meanwhile() -> None:
        if signed_out:
            sites[0].services.revocation.revoke(sites[0].opened())

    with later(EXPIRED):
        one_renews_the_other_waits(sites, redis_server, come, go, status, meanwhile)
    assert backend.calls[REFRESH] == 1


def test_unreadable_access_token_reaches_the_waiting_process(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    come, go = Event(), Event()

    def spoil(request: Any) -> Answer:
        answer = request.get_response(backend.application)
        come.set()
        assert go.wait(5)
        return Answer(json_body={**answer.json_body, "access": "not.a.jwt"})

    backend.instead[REFRESH] = spoil
    with later(EXPIRED):
        one_renews_the_other_waits(sites, redis_server, come, go, 503)
    assert backend.calls[REFRESH] == 1
    assert sites[0].opened().tokens.refresh == sites[1].opened().tokens.refresh


def test_sign_out_reaches_the_waiting_process(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    """If the user signs out at one process during a renewal, the process that waits for the renewal
    finds the successor and the revocation in the store. Both return ``SessionRevoked``."""
    csrf, signs_out = sites[0].csrf(), sites[0].twin()
    come, go = blocked(backend)

    def sign_out() -> None:
        signs_out.post("/logout", {"csrf_token": csrf}, status=303)

    with later(EXPIRED):
        answers = one_renews_the_other_waits(sites, redis_server, come, go, 303, sign_out)
    assert all("reason=SessionRevoked" in each.location for each in answers)


def test_sign_out_is_known_to_the_other_process(sites: list[Site]) -> None:
    sites[0].sign_out()
    assert sites[1].get("/session").json["error"] == "SessionRevoked"
    assert COOKIE not in sites[1].cookies


def test_sign_out_everywhere_is_known_to_the_other_process(sites: list[Site]) -> None:
    third = Site(wsgi=sites[1].app)
    third.sign_in("alice")
    sites[0].sign_out(everywhere=True)
    for site in (sites[1], third):
        assert site.get("/session").json["error"] == "SessionRevoked"


@pytest.mark.parametrize("how", ["flush", "restart"])
def test_sign_out_is_known_to_the_other_process_after_redis_lost_its_data(
    sites: list[Site], redis_server: RedisServer, how: str
) -> None:
    held = sites[0].cookie_header()
    sites[0].sign_out()
    if how == "flush":
        redis_server.client.flushall()
    else:
        redis_server.stop()
        redis_server.start()
    # The process of the sign-out writes the revocation again at its next request.
    eventually(lambda: sites[0].get("/health?deep=1", status="*").status_int == 200, 5)
    answer = Site(wsgi=sites[1].app).get("/session", headers=held)
    assert answer.json["error"] == "SessionRevoked"


@IMPATIENT
def test_rejection_does_not_end_the_session_while_redis_is_down(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    """While Redis is down, a rejection does not end the session, because another process may have
    spent the token and could not tell this process."""
    redis_server.stop()
    with later(EXPIRED):
        page(sites[0], status=200)
        page(sites[1], status=503)
        assert COOKIE in sites[1].cookies
        # A browser has one cookie jar, so its next request sends the cookie of the first response.
        sites[1].cookiejar = sites[0].cookiejar
        page(sites[1], status=200)
    redis_server.start()


def test_health_check_reports_redis_down(sites: list[Site], redis_server: RedisServer) -> None:
    assert sites[0].get("/health?deep=1").json["shared"] == "ok"
    redis_server.stop()
    answer = sites[0].get("/health?deep=1", status=503)
    assert answer.json == {"status": "down", "backend": "ok", "shared": "down"}
    page(sites[0], status=200)


def test_failed_sign_ins_are_counted_across_processes_while_secrets_change(
    backend: Served, redis_server: RedisServer
) -> None:
    """During a rotation of the secret, some processes already have the new settings. All processes
    share the counters of failed sign-ins. The test makes the first and the last step of the
    rotation in docs/operations.md."""
    old, new = SECRET, SECRET[::-1]
    for user, secrets in (("bob", (old, f"{old}\n{new}")), ("carol", (f"{new}\n{old}", new))):
        sites = [
            Site(
                backend.url, shared=patient(redis_server.url), login__rate="4/minute", secret=secret
            )
            for secret in secrets
        ]
        for site in (*sites, *sites):
            site.sign_in(user, "wrong", status=401)
        for site in sites:
            site.sign_in(user, status=429)
            site.services.store._connection.client.connection_pool.disconnect()


def test_failed_sign_ins_are_counted_across_processes(redis_server: RedisServer) -> None:
    with Served(issuer({}, **ISSUER_SETTINGS)) as backend:
        sites = [
            Site(backend.url, shared=patient(redis_server.url), login__rate="4/minute")
            for _ in range(2)
        ]
        for site in (*sites, *sites):
            site.sign_in("bob", "wrong", status=401)
        for site in sites:
            site.sign_in("bob", status=429)
        assert backend.calls[LOGIN] == 4
        assert all(b"bob" not in key for key in redis_server.client.scan_iter())
        redis_server.stop()
        for _ in range(4):
            sites[0].sign_in("carol", "wrong", status=401)
        sites[0].sign_in("carol", status=429)
        sites[0].sign_in("bob", status=303)
        redis_server.start()
        for site in sites:
            site.services.store._connection.client.connection_pool.disconnect()


def lose_data(redis_server: RedisServer, how: str) -> None:
    if how == "flushed":
        redis_server.client.flushall()
    else:
        redis_server.stop()
        redis_server.start()


@IMPATIENT
@pytest.mark.parametrize("how", ["flushed", "restarted", "restarted from a dump"])
def test_r11_redis_that_lost_a_lease_ends_no_session(
    sites: list[Site], backend: Served, redis_server: RedisServer, how: str
) -> None:
    """Threat R11. Redis loses the lease of one process, so another process sends the same token.
    Although the backend rejects this token, the session does not end."""
    come, go = blocked(backend)
    if how == "restarted from a dump":
        redis_server.client.save()  # The dump contains the epoch marker.
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        first = pool.submit(page, sites[0], status=200)
        assert come.wait(20)
        del backend.instead[REFRESH]
        lose_data(redis_server, how)
        page(sites[1], status=503)
        go.set()
        first.result(20)
        assert backend.calls[REFRESH] == 2
        eventually(lambda: page(sites[1], status="*").status_int == 200)
    assert sites[0].opened().tokens == sites[1].opened().tokens


@pytest.mark.parametrize("how", ["flushed", "restarted"])
def test_r11_redis_that_lost_a_lease_lets_no_other_process_spend_the_token(
    sites: list[Site], backend: Served, redis_server: RedisServer, how: str
) -> None:
    """Threat R11. Redis loses the lease of one process, so a second process gets the lease. The
    second process does not spend the token. It waits until the first one has stored its outcome."""
    come, go = blocked(backend)
    with later(EXPIRED), ThreadPoolExecutor(2) as pool:
        first = pool.submit(page, sites[0], status=200)
        assert come.wait(20)
        lose_data(redis_server, how)
        second = pool.submit(page, sites[1], status=200)
        eventually(lambda: sites[1].services.store.settles_in(Key("purpose", "secret")) > 0)
        go.set()
        first.result(20)
        second.result(20)
    assert backend.calls[REFRESH] == 1
    assert sites[0].opened().tokens == sites[1].opened().tokens


def test_r11_slow_redis_ends_no_session(
    sites: list[Site], backend: Served, redis_server: RedisServer
) -> None:
    """Threat R11. If Redis is slow for a moment while one process renews and another one waits, the
    token is spent once, and both requests get the page."""
    come, go = blocked(backend)
    with later(EXPIRED):
        redis_server.client.client_pause(1300)
        one_renews_the_other_waits(sites, redis_server, come, go)
    assert backend.calls[REFRESH] == 1


def test_late_response_is_shared_with_the_other_process(
    backend: Served, redis_server: RedisServer
) -> None:
    """While the backend is slow, no process sends the token again, and no request waits long. When
    the late response arrives, its outcome is stored for both processes."""
    made = [
        Site(backend.url, shared=patient(redis_server.url), backend__timeout=seconds)
        for seconds in ("0.5", "60")
    ]
    made[0].sign_in()
    for cookie in made[0].cookiejar:
        made[1].cookiejar.set_cookie(cookie)
    _, go = blocked(backend)
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            page(made[0], status=503)
            pool.submit(page, made[1], status=503).result(10)
            time.sleep(0.3)  # until the backend may be called again
        assert backend.calls[REFRESH] == 1
        go.set()
        eventually(lambda: all(page(site, status="*").status_int == 200 for site in made))
    assert backend.calls[REFRESH] == 1
    assert made[0].opened().tokens == made[1].opened().tokens
    for site in made:
        site.services.store._connection.client.connection_pool.disconnect()


def test_r5_process_whose_lease_expired_uses_the_stored_successor(
    sites: list[Site],
    backend: Served,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threat R5. If the lease of a process expires during its call of the backend, another process
    spends the token. The backend rejects the call of the first process, which then uses the stored
    successor."""
    monkeypatch.setattr(
        RedisLeases, "_keep", lambda *args: None
    )  # The process does not extend its lease.
    come, go = Event(), Event()

    def answer_late(request: Any) -> Answer:
        come.set()
        assert go.wait(10)
        return request.get_response(backend.application)

    backend.instead[REFRESH] = answer_late
    before = set(redis_server.keys())
    with later(EXPIRED), ThreadPoolExecutor(1) as pool:
        first = pool.submit(page, sites[0], status=200)
        assert come.wait(20)
        del backend.instead[REFRESH]
        redis_server.client.delete(*(set(redis_server.keys()) - before))
        page(sites[1], status=200)
        go.set()
        first.result(20)
        assert sites[0].opened().tokens == sites[1].opened().tokens
        page(sites[1], status=200)


def test_r11_rejection_is_not_trusted_after_redis_was_down(
    backend: Served, redis_server: RedisServer
) -> None:
    """Threat R11. After Redis was down, a rejection does not end the session, because Redis may
    have restarted from an old dump that contains the epoch marker."""
    redis_server.stop()
    site = Site(backend.url, shared=patient(redis_server.url))
    site.sign_in()
    redis_server.start()
    eventually(site.services.store.healthy, 5)
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        page(site, status=503)
    assert COOKIE in site.cookies
    site.services.store._connection.client.connection_pool.disconnect()


def test_r11_late_rejection_is_not_trusted_after_redis_lost_its_data(
    backend: Served, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat R11. If Redis loses its data during a call of the backend whose response is late, a
    rejection in this response does not end the session, because the call began before the loss."""
    site = Site(backend.url, shared=patient(redis_server.url), backend__timeout="0.1")
    site.sign_in()
    go = Event()

    def reject_late(request: Any) -> Answer:
        assert go.wait(10)
        return Answer(status=401, json_body=NOT_VALID)

    backend.instead[REFRESH] = reject_late
    connection = site.services.store._connection
    with later(EXPIRED):
        page(site, status=503)
        redis_server.client.flushall()
        assert site.services.store.get() == []  # notices the loss
        eventually(lambda: connection.remembers(1.3), 5)
        go.set()
        eventually(lambda: "RenewalLate" in caplog.text, 5)
    assert "the outcome is Unavailable" in caplog.text
    connection.client.connection_pool.disconnect()


def test_r11_rejection_is_not_trusted_without_a_lease_that_can_be_extended(
    backend: Served, redis_server: RedisServer
) -> None:
    """Threat R11. If the Redis user may not run scripts, redis-py cannot extend a lease. The lease
    may then expire too early, so a rejection does not end the session."""
    rights = ["on", "nopass", "~*", "&*", "+@all", "-@scripting"]
    redis_server.client.execute_command("ACL", "SETUSER", "app", *rights)
    site = Site(backend.url, shared=patient(redis_server.url).replace("//", "//app:x@"))
    site.sign_in()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        page(site, status=503)
    site.services.store._connection.client.connection_pool.disconnect()


def test_r11_garbage_in_a_counter_does_not_block_sign_in(
    backend: Served, redis_server: RedisServer
) -> None:
    """Threat R11. Sign-in works even if another program has overwritten the counters in Redis."""
    site = Site(backend.url, shared=patient(redis_server.url))
    site.sign_in("alice", "wrong", status=401)
    counters = redis_server.client.keys("*limit*")
    assert counters
    for key in counters:
        redis_server.client.set(key, b"garbage")
    site.sign_in(status=303)
    site.services.store._connection.client.connection_pool.disconnect()
