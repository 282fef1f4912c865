"""Checks, at start-up and every minute, the set-up of Redis and the other processes that use it.

Each process writes the fingerprints of its secrets and the number :data:`VERSION` into one sorted
set in Redis, with the time. So each process sees whether the others have the same secrets and the
same version. ``authapp check`` shows the same fingerprints.

The inspection reads the eviction policy with ``INFO``. If a managed service refuses ``INFO``,
authapp cannot detect evictions and restarts. :class:`RedisConnection` logs this once.
"""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from authapp.session.encryption import fingerprint
from authapp.store.protocol import StoreUnavailable
from authapp.store.redis_connection import RedisConnection

log = logging.getLogger(__name__)

VERSION = 1
"""The version of the strings in the store. Increase this number if you change the strings in a way
that an older version of authapp cannot read."""

PROCESSES = b"authapp:users"
"""The Redis key of a sorted set. Each process writes the fingerprints of its secrets and
:data:`VERSION` into this set. Processes with the same secrets and version share one member."""

EVERY = 60.0
"""Seconds between two inspections."""

REMEMBERED = 180
"""Seconds for which the set in Redis keeps what a process wrote at its last inspection."""

_MOST = 64

REMEDIES = {
    "eviction": "Redis drops keys when its memory is full, and with them sign-outs. Set its"
    " maxmemory-policy to noeviction, and give it enough memory",
    "secrets": "another process uses the same Redis, and the two processes cannot decrypt each"
    " other's cookies. Set the same authapp.secret for all processes of a site, and give each site"
    " a Redis of its own",
    "version": "a process with another version of authapp, which stores other strings, uses the"
    " same Redis. Install the same version for all processes",
}
"""The problems that an inspection can find, each with the cause and what to do."""


class RedisInspection:
    """The problems of one Redis, and of the processes that use it.

    :param secrets: the secrets of this process. The first one encrypts cookies.
    """

    def __init__(self, connection: RedisConnection, secrets: Sequence[bytes]) -> None:
        self._connection = connection
        self._me = {"version": VERSION, "secrets": [fingerprint(each) for each in secrets]}
        self._next = 0.0
        self._may_ask_info = True
        self._evicted: int | None = None
        #: The names of the problems that the last inspection has found.
        self.problems: list[str] = []

    def refresh(self) -> None:
        """Inspect Redis, unless that was done less than a minute ago. Log each new problem once."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        found: set[str] = set()
        with suppress(StoreUnavailable):
            found |= set(self._problems_of_others())
            if self._may_ask_info and self._evicts():
                found.add("eviction")
            for name in sorted(found - set(self.problems)):
                log.error("StoreUnsuited: %s: %s", self._connection.address, REMEDIES[name])
            self.problems = sorted(found)

    def _problems_of_others(self) -> Iterable[str]:
        now = time.time()
        me = json.dumps(self._me).encode()
        client = self._connection.client
        with (
            self._connection.of(PROCESSES).command(),
            client.pipeline(transaction=False) as pipeline,
        ):
            pipeline.zremrangebyscore(PROCESSES, "-inf", now - REMEMBERED)
            pipeline.zadd(PROCESSES, {me: now})
            pipeline.expire(PROCESSES, REMEMBERED)
            pipeline.zrange(PROCESSES, 0, _MOST)
            *_, processes = pipeline.execute()
        for other in processes:
            if other != me:
                yield from self._compare(other)

    def _compare(self, other: bytes) -> Iterable[str]:
        """Return the names of the problems that exist between this process and another process.

        :param other: what the other process has written into the set :data:`PROCESSES`.
        """
        try:
            theirs = json.loads(other)
            secrets = list(theirs["secrets"])
            version, first = theirs["version"], secrets[0]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            yield "version"
            return
        mine = self._me["secrets"]
        if version != VERSION:
            yield "version"
        # While secrets are rotated, the first secret of each process is also one of the other's.
        if first not in mine or mine[0] not in secrets:  # type: ignore[index, operator]
            yield "secrets"

    def _evicts(self) -> bool:
        """Return True if Redis may drop unexpired keys, or has dropped some since the last call."""
        reply: list[dict[str, Any]] = []
        with self._connection.of(PROCESSES).command():
            try:
                for section in ("memory", "stats"):
                    reply += self._connection.info(section)
            except ResponseError:  # RedisConnection has logged that
                self._may_ask_info = False
                return False
        policies = {str(each["maxmemory_policy"]) for each in reply if "maxmemory_policy" in each}
        evicted = sum(int(each.get("evicted_keys", 0)) for each in reply)
        more, self._evicted = evicted > (self._evicted or 0), evicted
        return bool(policies - {"noeviction"}) or more
