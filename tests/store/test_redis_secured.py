"""Redis with TLS and ACL users: one server, Sentinel, and a cluster.

The users have only the rights that docs/operations.md names.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from redis.exceptions import NoPermissionError

from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from servers import REFRESH, Served
from servers.redis_group import (
    PROGRAM,
    Access,
    ClusterGroup,
    Group,
    Node,
    SentinelGroup,
    free_ports,
)
from servers.tls import Authority
from site_under_test import Site

SECRET = b"a secret of more than 32 bytes ........."
WORDS = ("word-of-redis", "word-of-sentinel", "other-word")

pytestmark = pytest.mark.servers


class Alone(Group):
    """One Redis server with TLS and ACL users."""

    def __init__(self, folder: Path, access: Access) -> None:
        super().__init__()
        if PROGRAM is None:
            pytest.skip("redis-server is not installed; see .ci/packages")
        (port,) = free_ports(1)
        self.nodes = [Node(folder, PROGRAM, port, f'save ""\n{access.redis}', access)]
        self.url = access.url(f"redis://{self.nodes[0].address}/0")


def build(kind: str, folder: Path, rights: str = "") -> Any:
    access = Access(folder / "authority", rights)
    if kind == "sentinel":
        return SentinelGroup(folder, replicas=0, sentinels=1, access=access)
    return (
        ClusterGroup(folder, replicas=0, access=access)
        if kind == "cluster"
        else Alone(folder, access)
    )


@pytest.fixture(scope="module", params=["one", "sentinel", "cluster"])
def group(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    made = build(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.fixture
def unprivileged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Yield Redis servers that refuse ``CONFIG`` and ``INFO`` to authapp's ACL user, as some
    hosting companies do."""
    made = build(request.param, tmp_path, "-info -config")
    yield made
    made.close()


def close(*stores: RedisStore) -> None:
    for store in stores:
        store._resync.pending.clear()
        thread, store._notices.thread = store._notices.thread, None
        if thread is not None:
            thread.join(5)
        client = store._redis
        (client if hasattr(client, "disconnect") else client.connection_pool).disconnect()


def live(url: str, backend: Served) -> None:
    """Sign in, renew and sign out, with two applications that share a Redis. Then check leases,
    health and the resync."""
    sites = [Site(backend.url, shared=url, login__rate="100/minute") for _ in range(2)]
    one, two = (site.services.store for site in sites)
    sites[0].sign_in()
    for cookie in sites[0].cookiejar:
        sites[1].cookiejar.set_cookie(cookie)
    eventually(lambda: one._notices.moment() and two._notices.moment(), 20)
    refreshes = backend.calls[REFRESH]
    with time_machine.travel(time.time() + 901):
        for site in sites:
            site.get("/account", status=200)
        assert backend.calls[REFRESH] == refreshes + 1
        assert sites[0].opened().tokens == sites[1].opened().tokens
        sid = sites[0].opened()
        assert not sites[1].services.revocation.known_revoked(sid)
        sites[0].sign_out()
        eventually(lambda: sites[1].services.revocation.known_revoked(sid), 5)
        assert sites[1].get("/session").json["error"] == "SessionRevoked"
    with one.lease(Key("purpose", "a")) as mine, two.lease(Key("purpose", "a")) as theirs:
        assert (mine, theirs) == (Lease.MINE, Lease.THEIRS)
    assert one.healthy()
    assert two.healthy()
    assert one.problems() == two.problems() == []
    # The resync writes with a script.
    one.put(Key("purpose", "b"), "text", 60)
    one._resync.mark_all_pending()
    eventually(lambda: not one._resync.pending)
    assert two.get(Key("purpose", "b")) == ["text"]
    close(one, two)


def test_a_user_with_the_documented_rights_signs_in_renews_and_signs_out(
    group: Any, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    live(group.url, backend)
    assert "Store" not in caplog.text
    assert not [word for word in WORDS if word in caplog.text]


def test_the_documented_rights_are_no_more_than_is_needed(group: Any) -> None:
    """With the documented rights, the Redis user cannot read the keys of other applications, and
    cannot delete all keys."""
    store = RedisStore(connect(group.url), [SECRET])
    assert store.healthy()
    for words in (["GET", "other"], ["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"]):
        node = {"target_nodes": "random"} if store._connection.clustered else {}
        with pytest.raises(NoPermissionError):
            store._redis.execute_command(*words, **node)
    close(store)


@pytest.mark.parametrize("unprivileged", ["one", "sentinel", "cluster"], indirect=True)
def test_a_user_without_config_and_info_works_and_that_is_said_once(
    unprivileged: Any, backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    live(unprivileged.url, backend)
    lines = [line for line in caplog.text.splitlines() if "Store" in line]
    assert len(lines) == 2, "one for each process"
    assert all("StoreRefuses: NoPermissionError (the 'info' command)" in line for line in lines)


def test_a_wrong_password_or_authority_is_a_redis_that_is_down(
    group: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right = re.search(r"ssl_ca_certs=([^&]+)", group.url)
    assert right
    other = {right[1]: str(Authority(tmp_path).file)}
    other |= {word: "other-word" for word in WORDS if word in group.url}
    for number, (old, new) in enumerate(other.items()):
        store = RedisStore(connect(group.url.replace(old, new)), [SECRET])
        assert store.get(Key("purpose", "a")) == [None]
        assert caplog.text.count("StoreDown: ") == number + 1
        close(store)
    assert not [word for word in WORDS if word in caplog.text]
