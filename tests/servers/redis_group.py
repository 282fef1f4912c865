"""Groups of real Redis servers: Sentinel with replicas, or a cluster, with or without TLS and
users."""

import random
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from eventually import eventually
from servers.redis_server import PROGRAM
from servers.tls import HERE, Authority

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"

SENTINEL = shutil.which("redis-sentinel")


def free_ports(number: int) -> list[int]:
    """Return free ports, below 32,000. The port 10,000 above each is free too, because a cluster
    needs it."""
    ports: list[int] = []
    candidates = iter(random.Random().sample(range(20_000, 32_000), 1000))
    while len(ports) < number:
        port = next(candidates)
        with suppress(OSError), socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            ports.append(port)
    return ports


class Access:
    """TLS with its own certificate authority, and Redis users with the rights of
    docs/operations.md.

    :param rights: further rights for the Redis user.
    """

    def __init__(self, folder: Path, rights: str = "") -> None:
        folder.mkdir()
        authority = Authority(folder)
        self.authority, pair = authority.file, authority.certify(HERE)
        self.options = {"ssl": True, "ssl_ca_certs": str(self.authority), "password": "admin"}
        tls = f"tls-cert-file {pair}\ntls-key-file {pair}\ntls-ca-cert-file {self.authority}\n"
        self._tls = f"{tls}tls-auth-clients no\ntls-replication yes\n"
        documented = re.findall(
            r"Give the (?:Redis|Sentinel) user `([^`]+)`", OPERATIONS.read_text()
        )
        of_redis, of_sentinel = (" ".join(each.split()) for each in documented)
        admin = "user default on >admin ~* &* +@all\n"
        self.redis = (
            f"user authapp on >word-of-redis {of_redis} {rights}\n{admin}"
            "tls-cluster yes\nmasteruser default\nmasterauth admin\n"
        )
        self.sentinel = (
            f"user authapp on >word-of-sentinel {of_sentinel}\n{admin}"
            "sentinel auth-user mymaster default\nsentinel auth-pass mymaster admin\n"
        )

    def port(self, port: int) -> str:
        """Return the lines of redis.conf that make a server listen on a port with TLS."""
        return f"port 0\ntls-port {port}\n{self._tls}"

    def url(self, url: str) -> str:
        """Add TLS, the user and the password to a Redis URL."""
        query = f"?ssl_ca_certs={self.authority}"
        if "sentinel" in url:
            query += "&sentinel_username=authapp&sentinel_password=word-of-sentinel"
        return url.replace("redis", "rediss", 1).replace("://", "://authapp:word-of-redis@") + query


class Node:
    """One Redis server or one Sentinel of a group."""

    def __init__(
        self, folder: Path, program: str, port: int, lines: str, access: Access | None = None
    ) -> None:
        self.port, self.address = port, f"127.0.0.1:{port}"
        self._folder = folder / str(port)
        self._folder.mkdir()
        self._program, self._file = program, self._folder / "redis.conf"
        listen = access.port(port) if access else f"port {port}\n"
        common = f'bind 127.0.0.1\ndir {self._folder}\nlogfile "{self._folder}/log"\n'
        self._file.write_text(listen + common + lines)
        options: Any = access.options if access else {}
        self.client = redis.Redis("127.0.0.1", port, socket_timeout=2, **options)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self._program, self._file])
        eventually(self.answers, 20)

    def answers(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _is_in_sync(replica: Node) -> bool:
    state: dict[str, str] = replica.client.info("replication")
    return state["master_link_status"] == "up"


class Group:
    """Redis servers that are started and stopped together."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def close(self) -> None:
        for node in self.nodes:
            node.client.close()
            node.kill()


class SentinelGroup(Group):
    """A primary, its replicas, and Sentinels. Two Sentinels must agree that the primary has
    failed."""

    def __init__(
        self, folder: Path, replicas: int = 2, sentinels: int = 3, access: Access | None = None
    ) -> None:
        super().__init__()
        if PROGRAM is None or SENTINEL is None:
            pytest.skip("redis-server or redis-sentinel is not installed; see .ci/packages")
        self._numbers = replicas, sentinels - 1
        primary, *others = free_ports(1 + replicas + sentinels)
        save = f'save ""\nrepl-diskless-sync-delay 0\n{access.redis if access else ""}'
        self.nodes.append(Node(folder, PROGRAM, primary, save, access))
        for port in others[:replicas]:
            follow = f"{save}replicaof 127.0.0.1 {primary}\n"
            self.nodes.append(Node(folder, PROGRAM, port, follow, access))
        lines = (
            f"sentinel monitor mymaster 127.0.0.1 {primary} {min(sentinels, 2)}\n"
            "sentinel down-after-milliseconds mymaster 1000\n"
            "sentinel failover-timeout mymaster 5000\n"
        )
        lines += access.sentinel if access else ""
        self.sentinels = [Node(folder, SENTINEL, port, lines, access) for port in others[replicas:]]
        hosts = ",".join(each.address for each in self.sentinels)
        url = f"redis+sentinel://{hosts}/mymaster/0"
        self.url = access.url(url) if access else url
        for each in self.nodes[1:]:
            eventually(lambda each=each: _is_in_sync(each), 30)  # type: ignore[misc]
        self.nodes += self.sentinels
        # Each Sentinel must know the replicas and the other Sentinels, or there is no failover.
        for each in self.sentinels:
            eventually(lambda each=each: self._knows_all(each), 30)  # type: ignore[misc]

    def _knows_all(self, sentinel: Node) -> bool:
        state = sentinel.client.sentinel_master("mymaster")
        return (state["num-slaves"], state["num-other-sentinels"]) == self._numbers

    def primary(self) -> Node:
        """Return the present primary, according to most Sentinels."""
        ports = [
            each.client.sentinel_get_master_addr_by_name("mymaster")[1] for each in self.sentinels
        ]
        (node,) = (each for each in self.nodes if each.port == max(ports, key=ports.count))
        return node

    a_primary = primary

    def has_replaced(self, killed: Node) -> bool:
        """Return True if another node has become the primary in place of the killed node."""
        return self.primary() is not killed


class ClusterGroup(Group):
    """A Redis cluster of three primaries, with three replicas or none."""

    def __init__(self, folder: Path, replicas: int = 3, access: Access | None = None) -> None:
        super().__init__()
        if PROGRAM is None:
            pytest.skip("redis-server is not installed; see .ci/packages")
        lines = 'save ""\ncluster-enabled yes\ncluster-node-timeout 1000\n'
        lines += "cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\n"
        lines += access.redis if access else ""
        for port in free_ports(3 + replicas):
            self.nodes.append(Node(folder, PROGRAM, port, lines, access))
        first, *others = self.nodes
        for number, node in enumerate(self.nodes[:3]):
            start, end = 16_384 * number // 3, 16_384 * (number + 1) // 3 - 1
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", start, end)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in others:
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", first.port)
        for node in self.nodes:
            eventually(lambda node=node: len(self._known(node)) == 3 + replicas, 30)  # type: ignore[misc]
        for primary, replica in zip(self.nodes, self.nodes[3:], strict=False):
            replica.client.execute_command("CLUSTER REPLICATE", self.id_of(primary))
        for node in self.nodes:
            eventually(lambda node=node: self._is_ready(node), 30)  # type: ignore[misc]
        for node in self.nodes[3:]:
            eventually(lambda node=node: _is_in_sync(node), 30)  # type: ignore[misc]
        hosts = ",".join(each.address for each in self.nodes[:2])
        url = f"redis+cluster://{hosts}"
        self.url = access.url(url) if access else url

    def primaries(self) -> dict[str, Node]:
        """Return node id -> node, for the running primaries."""
        living = [each for each in self.nodes if each.answers()]
        roles: dict[Node, dict[str, str]] = {
            each: each.client.info("replication") for each in living
        }
        return {self.id_of(each): each for each in living if roles[each]["role"] == "master"}

    def a_primary(self) -> Node:
        """Return one of the primaries."""
        return next(iter(self.primaries().values()))

    def has_replaced(self, killed: Node) -> bool:
        """Return True if there are three primaries again."""
        return len(self.primaries()) == 3

    def id_of(self, node: Node) -> str:
        return str(node.client.execute_command("CLUSTER MYID"), "ascii")

    def _known(self, node: Node) -> dict[str, dict[str, str]]:
        known: dict[str, dict[str, str]] = node.client.execute_command("CLUSTER NODES")
        return known

    def _is_ready(self, node: Node) -> bool:
        info: dict[str, str] = node.client.execute_command("CLUSTER INFO")
        roles = [each["flags"] for each in self._known(node).values()]
        primaries = sum("master" in each for each in roles)
        return info["cluster_state"] == "ok" and primaries == 3
