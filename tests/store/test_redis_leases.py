"""What a process does while it can get no lease from Redis."""

import time

import pytest
from redis import Redis

from authapp.store.protocol import Lease
from authapp.store.redis_connection import RedisConnection
from authapp.store.redis_leases import RedisLeases


def test_a_second_node_without_leases_is_logged_although_the_first_one_was_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = (RedisConnection(Redis()) for _ in range(2))
    leases = RedisLeases(first, [], patience=0.1)
    for node in (first, second):
        assert leases._unsure((node,)) is Lease.UNSURE
        time.sleep(0.11)
        for _ in range(2):
            assert leases._unsure((node,)) is Lease.ALONE
    assert caplog.text.count("StoreAlone") == 2
