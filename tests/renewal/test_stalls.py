"""If Redis stalls, no token is spent twice, and no user is signed out.

Two applications in one process stand for two processes. If a refresh token comes twice, the backend
(the embedded issuer) revokes all tokens of the session (RFC 9700 section 4.14.2).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.cookiejar import CookieJar
from typing import Any

import pytest
import time_machine
from webob import Request, Response

from authapp.issuer import main as issuer
from authapp.store import redis_leases
from authapp.store.protocol import Key, Lease
from eventually import eventually
from servers import ISSUER_SETTINGS, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import Site

ACCESS = 3
"""The lifetime of an access token in seconds."""

SESSIONS, AT_ONCE = 8, 6

PAUSE = 0.2
"""The seconds from a response until the next request of the same tab."""

STALLS = (0.5, 1.5, 1.5, 3.0, 10.0)
"""How many seconds Redis stalls, for each stall of the test."""

KEY = Key("purpose", "secret")

HTML = {"Accept": "text/html"}


class Town:
    """Two applications that share a Redis, and what their backend has received.

    :ivar spent: refresh token -> how often the backend has received it.
    :ivar statuses: status -> the number of responses.
    """

    def __init__(self, backend: Served, redis: RedisServer, **settings: str) -> None:
        self.backend, self.redis = backend, redis
        self.spent: Counter[str] = Counter()
        backend.instead[REFRESH] = self._count
        settings = {"shared": patient(redis.url), "backend__bulkhead": "50", **settings}
        self.sites = [Site(backend.url, **settings) for _ in range(2)]
        self.statuses: Counter[int] = Counter()

    def _count(self, request: Request) -> Response | None:
        self.spent[request.json_body["refresh"]] += 1
        return None

    def signed_in(self) -> CookieJar:
        """Sign in. Return the cookies of the new session."""
        tab = Site(wsgi=self.sites[0].app)
        tab.sign_in()
        return tab.cookiejar

    def visit(self, jar: CookieJar, number: int) -> int:
        """Request the account page, and return the status.

        :param number: an even number for the first application, an odd number for the second.
        """
        tab = Site(wsgi=self.sites[number % 2].app)
        tab.cookiejar = jar
        status: int = tab.get("/account", headers=HTML, status="*").status_int
        self.statuses[status] += 1
        return status

    def close(self) -> None:
        for site in self.sites:
            site.services.store._connection.client.connection_pool.disconnect()


@pytest.fixture
def town(redis_server: RedisServer) -> Iterator[Callable[..., Town]]:
    """Yield a function that creates a :class:`Town`.

    The function takes the lifetime of access tokens in seconds, and settings.
    """
    with ExitStack() as stack:

        def build(access: int = ACCESS, **settings: str) -> Town:
            lifetimes = {"issuer.access_lifetime": str(access)}
            backend = stack.enter_context(Served(issuer({}, **ISSUER_SETTINGS | lifetimes)))
            made = Town(backend, redis_server, **settings)
            stack.callback(made.close)
            return made

        yield build


def test_r11_a_stall_makes_no_process_spend_what_another_may_have_spent(
    town: Any, redis_server: RedisServer
) -> None:
    """Threat R11. If Redis stalls while access tokens expire, no refresh token is spent twice, and
    no user is signed out."""
    here = town()
    jars = [here.signed_in() for _ in range(SESSIONS)]
    over = threading.Event()

    def browse(number: int) -> None:
        while not over.wait(PAUSE):
            here.visit(jars[number // AT_ONCE], number)

    with ThreadPoolExecutor(SESSIONS * AT_ONCE) as pool:
        tabs = [pool.submit(browse, number) for number in range(SESSIONS * AT_ONCE)]
        try:
            for seconds in STALLS:
                # The stall begins as soon as one more token is spent.
                spent = here.spent.total()
                eventually(lambda spent=spent: here.spent.total() > spent)
                redis_server.pause()
                threading.Event().wait(seconds)
                redis_server.go_on()
                eventually(lambda: here.sites[0].services.store.settles_in(KEY) == 0, 10)
                assert max(here.spent.values()) == 1, f"spent twice after {seconds} s"
                assert set(here.statuses) <= {200, 503}, f"signed out after {seconds} s"
        finally:
            over.set()
        for tab in tabs:
            tab.result(10)
    for number, jar in enumerate(jars):
        eventually(lambda jar=jar, number=number: here.visit(jar, number) == 200)
    assert set(here.statuses) <= {200, 503}, "nobody is signed out"
    assert here.spent.total() > SESSIONS
    assert max(here.spent.values()) == 1, "each refresh token is spent once"
    print(f"{here.spent.total()} tokens spent, answers by status: {dict(here.statuses)}")


@pytest.mark.parametrize("how", ["stop", "full"])
def test_r11_while_redis_is_down_sessions_wait_and_then_each_process_renews_on_its_own(
    town: Any, redis_server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat R11. While Redis is down or full, an expired session gets 503, and a due session is
    not renewed. When ``shared.patience`` is over, each process renews on its own."""
    here = town(access=30, shared__patience="1")
    jar = here.signed_in()
    if how == "stop":
        redis_server.stop()
    else:
        redis_server.client.config_set("maxmemory", "1")
    with time_machine.travel(time.time() + 25):
        assert here.visit(jar, 1) == 200, "the access token holds"
    with time_machine.travel(time.time() + 31):
        tab = Site(wsgi=here.sites[0].app)
        tab.cookiejar = jar
        answer = tab.get("/account", headers=HTML, status=503)
        assert int(answer.headers["Retry-After"]) > 0
        assert here.spent.total() == 0
        eventually(lambda: here.visit(jar, 0) == 200)
        assert here.visit(jar, 0) == 200
    assert here.spent.total() == 1
    line = f"StoreAlone: no lease at {redis_server.address} for 1 seconds; this process renews"
    assert caplog.text.count(line) == 1
    if how == "stop":
        redis_server.start()
    else:
        redis_server.client.config_set("maxmemory", "0")
    store = here.sites[0].services.store
    eventually(lambda: store.healthy() and store.settles_in(KEY) == 0)
    with store.lease(KEY) as lease:
        assert lease is Lease.MINE, "the processes work together again"


def test_r11_attempts_long_ago_do_not_count_as_patience(
    town: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat R11. ``shared.patience`` begins again after a pause in which no request has asked for
    a lease, because Redis may have been up during the pause."""
    monkeypatch.setattr(redis_leases, "LEASE", 0.2)
    store = town(shared__patience="0.1").sites[0].services.store
    redis_server.client.config_set("maxmemory", "1")

    def taken() -> Lease:
        with store.lease(KEY) as lease:
            return lease

    assert taken() is Lease.UNSURE
    eventually(lambda: taken() is Lease.ALONE)
    last = time.monotonic()
    eventually(lambda: time.monotonic() - last > 0.3)
    assert taken() is Lease.UNSURE


def test_r11_an_expired_session_waits_until_the_processes_have_told_each_other(
    town: Any, redis_server: RedisServer
) -> None:
    """Threat R11. After an outage of Redis, a request of an expired session waits until the
    processes have told each other what they did during the outage. Then it gets the page."""
    here = town()
    jar = here.signed_in()
    store = here.sites[0].services.store
    store._connection.lost_data()
    with time_machine.travel(time.time() + ACCESS + 1):
        assert store.settles_in(KEY) > 0
        assert here.visit(jar, 0) == 200
        assert store.settles_in(KEY) == 0
    # If the timeout of the backend is shorter than this wait, the request does not wait.
    hurried = town(backend__timeout="0.5", refresh__reuse="60")
    jar = hurried.signed_in()
    hurried.sites[0].services.store._connection.lost_data()
    with time_machine.travel(time.time() + ACCESS + 1):
        assert hurried.visit(jar, 0) == 503
