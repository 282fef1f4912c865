"""A sign-out at one process is known to the other processes that share a Redis.

Two applications in one process stand for the two processes.
"""

import pytest

from eventually import eventually
from renewal.phases import EXPIRED, later, page
from renewal.two_processes import blocked, one_renews_the_other_waits
from servers import REFRESH, Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site


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
