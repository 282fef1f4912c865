"""No session ends because Redis is down or slow, or has lost its data.

Two applications in one process stand for the two processes.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from webob import Response as Answer

from authapp.store.protocol import Key
from eventually import eventually
from renewal.phases import EXPIRED, later, page
from renewal.two_processes import blocked, one_renews_the_other_waits
from servers import NOT_VALID, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import COOKIE, Site

IMPATIENT = pytest.mark.parametrize("sites", ["0"], indirect=True, ids=["patience 0"])
"""Marks a test in which each process renews without a lease as soon as Redis is down."""


def test_health_check_reports_redis_down(sites: list[Site], redis_server: RedisServer) -> None:
    assert sites[0].get("/health?deep=1").json["shared"] == "ok"
    redis_server.stop()
    answer = sites[0].get("/health?deep=1", status=503)
    assert answer.json == {"status": "down", "backend": "ok", "shared": "down"}
    page(sites[0], status=200)


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
