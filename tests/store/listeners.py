"""Stores that stand for processes, each of which is told of the revocations of the others."""

from collections.abc import Callable, Iterator

import pytest

from authapp.store.protocol import Key
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from eventually import eventually
from servers.redis_server import RedisServer
from store.conftest import OLD

A, B = Key("revoked session", "a"), Key("revoked user", "b")


def alive(store: RedisStore) -> bool:
    return store._notices.moment() is not None


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    """Yield a function. Each call of it returns a store that stands for one more process.

    With ``told=True``, the call waits until this store receives notices.
    """
    processes: list[RedisStore] = []

    def start(*secrets: bytes, url: str = "", told: bool = True) -> RedisStore:
        store = RedisStore(connect(url or redis_server.url), secrets or (OLD,))
        processes.append(store)
        if told:
            eventually(lambda: alive(store))
        return store

    yield start
    for each in processes:
        each._resync.pending.clear()
        thread, each._notices.thread = each._notices.thread, None
        if thread is not None:
            thread.join(5)
        each._redis.connection_pool.disconnect()
