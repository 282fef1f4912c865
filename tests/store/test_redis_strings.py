"""Processes share strings in Redis. The strings are encrypted, and garbage is ignored."""

import base64
import hmac
from typing import Any

import pytest

from authapp.session.encryption import derive
from authapp.store.protocol import Lease
from authapp.store.redis import RedisStore
from authapp.store.redis_connection import connect
from servers.redis_server import RedisServer
from store.conftest import NEW, OLD, A, B


def test_a_string_of_one_process_is_read_by_the_others(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    assert one.get(A, B) == [None, None]
    one.put(A, "text", 60)
    assert two.get(B, A) == [None, "text"]
    (name,) = redis_server.keys()
    assert 0 < redis_server.client.pttl(name) <= 60_000
    assert one.healthy()


def test_r13_redis_contains_no_plain_keys_or_values(
    process: Any, redis_server: RedisServer
) -> None:
    process().put(A, "text", 60)
    (name,) = redis_server.keys()
    assert b"secret" not in name
    assert b"text" not in redis_server.client.get(name)


def test_r13_key_names_are_keyed_digests(process: Any, redis_server: RedisServer) -> None:
    """Threat R13. A key in Redis is a keyed hash. An attacker who has stolen a token and can read
    Redis cannot find the entry of the token."""
    process().put(A, "text", 60)
    key = derive(OLD, "authapp shared names", 32)
    digest = hmac.digest(key, b"purpose\0secret a", "sha256")
    assert redis_server.keys() == [b"authapp:" + base64.urlsafe_b64encode(digest)]


def test_r13_a_value_moved_to_another_key_is_not_decrypted(
    process: Any, redis_server: RedisServer
) -> None:
    one, two = process(), process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    value = redis_server.client.get(name)
    one.put(B, "other", 60)
    (other,) = set(redis_server.keys()) - {name}
    redis_server.client.set(other, value)
    assert two.get(A, B) == ["text", None]


@pytest.mark.parametrize("garbage", [b"", b"x", b"x" * 12, b"x" * 28, b"x" * 1_000_000])
def test_r11_garbage_under_our_key_is_ignored(
    process: Any, redis_server: RedisServer, garbage: bytes
) -> None:
    one = process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    redis_server.client.set(name, garbage)
    assert process().get(A) == [None]
    assert one.get(A) == ["text"], "the process reads its own copy"


def test_r11_a_value_of_another_type_is_ignored_and_replaced(
    process: Any, redis_server: RedisServer
) -> None:
    one = process()
    one.put(A, "text", 60)
    (name,) = redis_server.keys()
    redis_server.client.delete(name)
    redis_server.client.lpush(name, "x")
    assert process().get(A) == [None]
    one.put(A, "again", 60)
    assert process().get(A) == ["again"]
    assert one.healthy()


def test_processes_share_data_while_secrets_are_changed(process: Any) -> None:
    before, during, after = process(OLD), process(NEW, OLD), process(NEW)
    before.put(A, "from before", 60)
    during.put(B, "from during", 60)
    assert during.get(A) == ["from before"]
    assert before.get(B) == ["from during"]
    assert after.get(A, B) == [None, "from during"]
    during.put(A, "1", 60)
    before.put(A, "2", 60)  # a later sign-out everywhere, stored with the old secret only
    assert during.get(A) == before.get(A) == ["2"]
    with before.lease(A) as first, during.lease(A) as second:
        assert (first, second) == (Lease.MINE, Lease.THEIRS)
    with after.lease(A) as first, during.lease(A) as second:
        assert (first, second) == (Lease.MINE, Lease.THEIRS)
    with during.lease(A) as first, after.lease(A) as second, before.lease(A) as third:
        assert (first, second, third) == (Lease.MINE, Lease.THEIRS, Lease.THEIRS)


def test_the_option_decode_responses_has_no_effect(redis_server: RedisServer) -> None:
    server = connect(f"{redis_server.url}?decode_responses=true")
    shared = RedisStore(server, [OLD])
    shared.put(A, "text", 60)
    assert RedisStore(server, [OLD]).get(A) == ["text"]
    assert shared.healthy()
    server.client.connection_pool.disconnect()
