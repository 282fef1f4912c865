"""Processes that share a Redis spend each refresh token once.

Two applications in one process stand for the two processes.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from webob import Response as Answer

from authapp.store.redis_leases import RedisLeases
from eventually import eventually
from renewal.phases import DUE, EXPIRED, later, page
from renewal.two_processes import blocked, one_renews_the_other_waits
from servers import NOT_VALID, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import COOKIE, Site


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
