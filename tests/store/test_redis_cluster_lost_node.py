"""A node of a Redis cluster without replicas is lost for good."""

from typing import Any

import pytest
from redis.crc import key_slot

from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from authapp.store.redis_encryption import tag_of
from eventually import eventually
from servers.redis_group import ClusterGroup
from store.cluster_stores import close, user
from store.conftest import OLD

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("coverage", ["no", "yes"])
def test_a_node_that_stays_lost_concerns_only_the_users_of_its_slots(
    tmp_path: Any, coverage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If a node of the cluster is lost for good, a process waits until ``patience`` is over. Then
    it renews the sessions of the users of this node without a lease.

    With ``cluster-require-full-coverage = yes``, the other nodes refuse commands too. With ``no``,
    they work as before.
    """
    group = ClusterGroup(tmp_path, replicas=0)
    for node in group.nodes:
        node.client.config_set("cluster-require-full-coverage", coverage)
    stores = [RedisStore(connect(group.url), [OLD], patience=1) for _ in range(2)]
    one, two = stores
    for store in stores:
        store.put(user(0)[0], "text", 60)
    keys = [user(number)[0] for number in range(16)]
    end = 16_384 * 2 // 3
    living = [key for key in keys if key_slot(one._key_rings[0].name(key)) < end]
    lost = [key for key in keys if key not in living]
    assert living
    assert lost
    group.nodes[2].kill()
    state = "ok" if coverage == "no" else "fail"
    first = group.nodes[0].client
    eventually(lambda: first.execute_command("CLUSTER INFO")["cluster_state"] == state, 20)
    eventually(
        lambda: (
            first.execute_command("CLUSTER NODES")[group.nodes[2].address]["flags"] == "master,fail"
        ),
        20,
    )

    def taken(key: Key) -> Lease:
        with one.lease(key) as lease:
            return lease

    def browse() -> set[Lease]:
        """Take the leases of all users once. Return the results for the users whose node is
        lost."""
        leases = {taken(key) for key in lost}
        others = {taken(key) for key in living}
        assert Lease.MINE not in leases
        if coverage == "no":
            assert Lease.ALONE not in others
            settled.append(others == {Lease.MINE} and not any(map(one.settles_in, living)))
        return leases

    settled: list[bool] = []
    browse()
    eventually(lambda: browse() == {Lease.ALONE}, 30)
    if coverage == "no":
        # On a busy machine a command may be late once. After that, the state must not change again.
        eventually(lambda: browse() and settled[-3:] == [True] * 3, 30)
        for key in living + lost:
            one.put(key, "told", 60, notify=True)
        eventually(lambda: two.get(*living) == ["told"] * len(living), 20)
    assert "StoreBack" not in caplog.text
    for store in stores:
        close(store)
    group.close()


def test_what_a_lost_node_has_is_the_only_thing_that_is_unknown(tmp_path: Any) -> None:
    """A session of OpenID Connect has keys on several nodes. If one node is lost, only the keys of
    this node are unknown."""
    group = ClusterGroup(tmp_path, replicas=0)
    for node in group.nodes:
        node.client.config_set("cluster-require-full-coverage", "no")
    one, two = (RedisStore(connect(group.url), [OLD]) for _ in range(2))
    one.get()
    # Scripts are loaded in this order.
    lost, *_, last = [each.port for each in one._redis.get_primaries()]
    nodes = {each.port: each for each in group.nodes}

    def has(port: int, name: bytes) -> bool:
        place = one._redis.primary(tag_of(name) or name)
        return bool(place == ("127.0.0.1", port))

    ring = one._key_rings[0]
    mine = next(key for number in range(99) if has(last, ring.name(key := user(number)[0])))
    theirs = next(
        key for number in range(99) if has(lost, ring.name(key := Key("group", f"{number}")))
    )
    nodes[lost].kill()
    nodes[last].client.script_flush()  # as after a restart or a failover
    eventually(lambda: two.get(theirs) == [None] and two._connection.any_down(), 20)
    one.put(mine, "the successor", 60)
    eventually(lambda: two.get(mine) == ["the successor"], 20)
    for _ in range(3):
        assert two.get(theirs, mine) == [None, "the successor"]
    assert two.recall(mine, theirs) == ["the successor", None]
    for _ in range(3):
        with two.lease(mine) as lease:
            assert lease is Lease.MINE
    assert not any(two.healthy() for _ in range(5))
    close(one)
    close(two)
    group.close()
