"""A fixture: stores that stand for the processes of a site, which share one Redis."""

from collections.abc import Callable, Iterator

import pytest

from authapp.store.protocol import Key
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from servers.redis_server import RedisServer

OLD, NEW = b"an old secret of more than 32 bytes ..", b"a new secret of more than 32 bytes ..."
A, B = Key("purpose", "secret a"), Key("purpose", "secret b")


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Yield a function that returns the store of another process."""
    processes = []

    def start(*secrets: bytes) -> RedisStore:
        processes.append(RedisStore(connect(redis_server.url), secrets or (OLD,)))
        return processes[-1]

    yield start
    for each in processes:
        each._resync.pending.clear()  # so that the resync thread ends
        eventually(lambda each=each: each._resync.thread is None, 5)
        each._redis.connection_pool.disconnect()
