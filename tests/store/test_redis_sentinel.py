"""The store with Sentinel: the primary is killed, and the processes use the new primary."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from authapp.store.redis_url import read_url
from eventually import eventually
from servers import REFRESH, Served
from servers.redis_group import SentinelGroup
from site_under_test import Site

SECRET = b"a secret of more than 32 bytes ........."
A, B = Key("revoked session", "a"), Key("revoked session", "b")

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    made = SentinelGroup(tmp_path_factory.mktemp("sentinel"))
    yield made
    made.close()


def close(store: RedisStore) -> None:
    store._resync.pending.clear()
    store._notices.thread = None
    store._redis.connection_pool.disconnect()


def test_processes_follow_a_failover_and_sign_outs_are_still_refused(
    group: SentinelGroup, backend: Served
) -> None:
    """The primary is killed while users browse. All requests still succeed, and no user is signed
    out. A copy of a cookie that was signed out before is still refused."""
    sites = [Site(backend.url, shared=group.url) for _ in range(2)]
    one, two = (site.services.store for site in sites)
    sites[0].sign_in()
    held = sites[0].cookie_header()
    sites[0].sign_out()
    users = [Site(wsgi=site.app) for site in sites for _ in range(2)]
    for user in users:
        user.sign_in()
    eventually(lambda: one._notices.moment() and two._notices.moment())
    over, statuses = threading.Event(), []

    def browse(user: Site) -> None:
        while not over.is_set():
            answer = user.get("/account", headers={"Accept": "text/html"}, status="*")
            statuses.append(answer.status_int)

    with ThreadPoolExecutor(len(users)) as pool:
        tabs = [pool.submit(browse, user) for user in users]
        before = group.primary()
        before.kill()
        eventually(lambda: group.primary() is not before, 60)
        eventually(lambda: one.healthy() and two.healthy(), 60)
        over.set()
        for tab in tabs:
            tab.result(10)
    assert set(statuses) == {200}
    for site in sites:
        answer = Site(wsgi=site.app).get("/session", headers=held)
        assert answer.json["error"] == "SessionRevoked"
    assert backend.calls[REFRESH] == 0
    # The processes tell each other again, through the new primary.
    assert one.recall(B) == two.recall(B) == [None]
    eventually(lambda: one._notices.moment() and two._notices.moment(), 20)
    one.put(B, "1", 60, notify=True)
    eventually(lambda: two.recall(B) == ["1"], 5)
    with one.lease(A) as mine, two.lease(A) as theirs:
        assert (mine, theirs) == (Lease.MINE, Lease.THEIRS)
    before.start()
    close(one)
    close(two)


def test_an_unknown_primary_is_a_redis_that_is_down(
    group: SentinelGroup, caplog: pytest.LogCaptureFixture
) -> None:
    url = group.url.replace("mymaster", "another").replace("://", "://user:pass-word@")
    store = RedisStore(connect(url), [SECRET])
    began = time.monotonic()
    assert store.get(A) == [None]
    assert time.monotonic() - began < 2
    assert "StoreDown: MasterNotFoundError at 127.0.0.1:" in caplog.text
    assert "pass-word" not in caplog.text
    close(store)


def parsed(url: str) -> tuple[Any, ...]:
    found = read_url(url)
    return (
        found.kind,
        found.hosts,
        found.service,
        found.tls,
        found.options,
        found.sentinel_options,
    )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "redis+sentinel://host:26379,host2:26380/mymaster/3",
            ("sentinel", (("host", 26379), ("host2", 26380)), "mymaster", False, {"db": 3}, {}),
        ),
        (
            "rediss+sentinel://u%40x:p%3Aw@host,[::1]:7/my%20one?socket_timeout=1.5"
            "&ssl_ca_certs=/ca.pem&sentinel_username=s&sentinel_password=t",
            (
                "sentinel",
                (("host", 26379), ("::1", 7)),
                "my one",
                True,
                {
                    "db": 0,
                    "username": "u@x",
                    "password": "p:w",
                    "socket_timeout": 1.5,
                    "ssl_ca_certs": "/ca.pem",
                },
                {"username": "s", "password": "t", "ssl_ca_certs": "/ca.pem"},
            ),
        ),
        (
            "redis+cluster://:secret@host:7000,host2",
            ("cluster", (("host", 7000), ("host2", 6379)), "", False, {"password": "secret"}, {}),
        ),
        (
            "redis+cluster://host/0",
            ("cluster", (("host", 6379),), "", False, {}, {}),
        ),
        ("redis://host:1/2", ("", (), "", False, {"host": "host", "port": 1, "db": 2}, {})),
    ],
)
def test_urls_are_read(url: str, found: tuple[Any, ...]) -> None:
    assert parsed(url) == found
    assert "secret" not in repr(read_url(url))


def test_tls_is_a_scheme() -> None:
    found = read_url("rediss://host/0")
    assert (found.tls, found.options) == (True, {"host": "host", "db": 0})


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host:26379",
        "redis+sentinel:///mymaster",
        "redis+sentinel://host,/mymaster",
        "redis+sentinel://host/mymaster/zero",
        "redis+sentinel://host:port/mymaster",
        "redis+sentinel://host/mymaster?nonsense=1",
        "redis+cluster://host/1",
        "redis+cluster://host/x",
        "redis+other://host",
        "unix://path",
        "redis+sentinel://host/mymaster?socket_timeout=long",
    ],
)
def test_wrong_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        connect(url)
