"""The store with a Redis cluster of three primaries and three replicas."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from redis.crc import key_slot

from authapp.store.protocol import Key, Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_cluster import LazyCluster
from authapp.store.redis_connection import connect
from authapp.store.redis_encryption import TAGS
from authapp.store.redis_leases import SETTLE
from authapp.store.redis_notices import CHANNEL, HEARTBEATS
from eventually import eventually
from servers import REFRESH, Served
from servers.redis_group import ClusterGroup
from site_under_test import Site
from store.cluster_stores import close, user
from store.conftest import NEW, OLD

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterGroup]:
    made = ClusterGroup(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.fixture
def process(group: ClusterGroup) -> Iterator[Any]:
    """Yield a function that returns the store of another process."""
    processes: list[RedisStore] = []

    def start(*secrets: bytes) -> RedisStore:
        processes.append(RedisStore(connect(group.url), secrets or (OLD,)))
        return processes[-1]

    yield start
    for each in processes:
        close(each)


def told(*stores: RedisStore) -> None:
    """Wait until the processes of these stores receive notices of revocations."""
    for each in stores:
        eventually(lambda each=each: each._notices.moment() is not None, 20)  # type: ignore[misc]


def test_processes_share_strings_and_leases_in_all_slots(process: Any) -> None:
    one, two = process(OLD), process(NEW, OLD)
    for number in range(50):
        first, second = user(number)
        one.put(first, "text", 60)
        assert two.get(first, second) == ["text", None]
        with one.lease(first) as mine, two.lease(first) as theirs:
            assert (mine, theirs) == (Lease.MINE, Lease.THEIRS)
    assert one.healthy()
    assert two.healthy()
    assert one.problems() == []


def test_keys_of_a_user_are_on_one_node_and_users_are_spread(
    process: Any, group: ClusterGroup
) -> None:
    one = process()
    nodes = set()
    for number in range(200):
        names = [one._key_rings[0].name(key) for key in user(number)]
        slots = {key_slot(name) for name in names}
        assert len(slots) == 1
        nodes.add(slots.pop() * 3 // 16_384)
    assert nodes == {0, 1, 2}


def test_revocations_are_told_in_a_cluster(process: Any) -> None:
    one, two = process(), process()
    told(one, two)
    for number in range(20):
        key = Key("revoked session", str(number), str(number))
        assert one.recall(key) == [None]
        two.put(key, "1", 60, notify=True)
        eventually(lambda key=key: one.recall(key) == ["1"], 5)


def test_a_node_that_was_emptied_gets_its_strings_again(process: Any, group: ClusterGroup) -> None:
    one, two = process(), process()
    keys = [user(number)[0] for number in range(60)]
    for key in keys:
        one.put(key, "text", 60)
    assert two.get(*keys) == ["text"] * 60
    for node in group.nodes:
        if node.client.info("replication")["role"] == "master":
            node.client.flushall()
    # The heartbeats need minutes to read all markers. Requests of users notice the loss at once.
    eventually(lambda: (one.get(*keys), two.get(*keys))[1] == ["text"] * 60, 20)


def test_failed_sign_ins_are_counted_in_a_cluster(backend: Served, group: ClusterGroup) -> None:
    sites = [Site(backend.url, shared=group.url, login__rate="4/minute") for _ in range(2)]
    for site in (*sites, *sites):
        site.sign_in("bob", "wrong", status=401)
    for site in sites:
        site.sign_in("bob", status=429)
        close(site.services.store)


class Load:
    """Four users browse at two applications while a ``with`` block runs."""

    def __init__(self, backend: Served, group: ClusterGroup) -> None:
        self.sites = [Site(backend.url, shared=group.url) for _ in range(2)]
        self.stores = [site.services.store for site in self.sites]
        out = Site(wsgi=self.sites[0].app)
        out.sign_in()
        self.held = out.cookie_header()
        out.sign_out()
        self._users = [Site(wsgi=site.app) for site in self.sites for _ in range(2)]
        for each in self._users:
            each.sign_in()
        told(*self.stores)
        self.statuses: list[int] = []
        self._over = threading.Event()

    def _browse(self, site: Site) -> None:
        while not self._over.is_set():
            answer = site.get("/account", headers={"Accept": "text/html"}, status="*")
            self.statuses.append(answer.status_int)

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(len(self._users))
        self._tabs = [self._pool.submit(self._browse, each) for each in self._users]
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for tab in self._tabs:
            tab.result(20)
        self._pool.shutdown()

    def check(self, backend: Served) -> None:
        """Check that all pages were served while the cluster changed, without a renewal, and that
        the sites still know an earlier sign-out."""
        assert set(self.statuses) == {200}
        assert backend.calls[REFRESH] == 0
        for site in self.sites:
            answer = Site(wsgi=site.app).get("/session", headers=self.held)
            assert answer.json["error"] == "SessionRevoked"
        for store in self.stores:
            eventually(store.healthy, 30)
            close(store)


def test_slots_move_under_load(backend: Served, group: ClusterGroup) -> None:
    load = Load(backend, group)
    (source_id, source), (target_id, target) = list(group.primaries().items())[:2]
    # The test moves only slots that have keys.
    slots = {key_slot(key) for key in source.client.keys("authapp:*")}
    assert slots
    with load:
        for slot in list(slots)[:20]:
            target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
            source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
            while moved := source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                words = ["MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *moved]
                source.client.execute_command(*words)
            for node in (target, source):
                node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        seen = len(load.statuses)
        eventually(lambda: len(load.statuses) > seen + 20, 30)
    load.check(backend)


def test_a_primary_is_killed_under_load(backend: Served, group: ClusterGroup) -> None:
    load = Load(backend, group)
    before = group.primaries()
    killed = next(iter(before.values()))
    with load:
        killed.kill()
        eventually(lambda: len(group.primaries()) == 3, 60)
        eventually(lambda: all(store.healthy() for store in load.stores), 60)
    load.check(backend)
    killed.start()


def test_heartbeats_are_published_at_the_node_of_the_notices() -> None:
    assert key_slot(HEARTBEATS + b"of a process") == key_slot(CHANNEL)


def test_a_redirection_of_one_slot_shows_what_else_a_new_primary_has() -> None:
    old, new = (SimpleNamespace(host="127.0.0.1", port=port) for port in (1, 2))
    primaries = dict.fromkeys(TAGS, old)
    cluster = LazyCluster((), {})
    cluster._client = SimpleNamespace(
        get_node_from_key=primaries.__getitem__,
        nodes_manager=SimpleNamespace(
            initialize=lambda: primaries.update(dict.fromkeys(TAGS, new)),
        ),
    )
    assert cluster.new_primaries(TAGS[0]) == set()
    primaries[TAGS[0]] = new
    assert cluster.new_primaries(TAGS[0]) == {("127.0.0.1", 2)}
    assert cluster.tags_of(("127.0.0.1", 2)) == set(TAGS)


def test_a_process_that_began_during_an_outage_waits_for_what_others_have_done(
    process: Any, group: ClusterGroup, caplog: pytest.LogCaptureFixture
) -> None:
    key = user(0)[0]
    for node in group.nodes:
        node.process.send_signal(signal.SIGSTOP)
    try:
        one = process()
        assert one._ask(key) == ([None], False)
    finally:
        for node in group.nodes:
            node.process.send_signal(signal.SIGCONT)
    eventually(lambda: one._ask(key)[1], 20)
    assert 0 < one.settles_in(key) <= SETTLE
    eventually(lambda: one.get(key) and "StoreBack" in caplog.text, 20)


def test_slots_that_no_node_has_are_down_until_they_are_found(
    process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = process(), process()
    key = user(0)[0]
    one.put(key, "text", 60)
    for _ in range(2):  # the second time, the list of nodes is still new
        one._redis.nodes_manager.slots_cache.clear()
        assert one.get(key) == ["text"]
    one.put(key, "text, later", 60)
    eventually(lambda: two.get(key) == ["text, later"])
    eventually(one.healthy)
    assert caplog.text.count("StoreDown") == caplog.text.count("StoreBack") == 1


def test_a_cluster_that_is_down_at_start_up_is_a_redis_that_is_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = RedisStore(connect("redis+cluster://:pass-word@127.0.0.1:1"), [OLD])
    assert one.get(user(1)[0]) == [None]
    assert one.problems() == []
    assert "StoreDown: ConnectionError at 127.0.0.1:1; each process" in caplog.text
    assert "pass-word" not in caplog.text
    one._redis.disconnect()
