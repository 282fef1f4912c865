"""What the tests of a Redis cluster share: how a store ends, and the keys of a user."""

from authapp.store.protocol import Key
from authapp.store.redis import RedisStore


def close(store: RedisStore) -> None:
    store._resync.pending.clear()
    thread, store._notices.thread = store._notices.thread, None
    if thread is not None:
        thread.join(5)
    store._redis.disconnect()


def user(number: int) -> tuple[Key, Key]:
    return Key("one", f"a{number}", str(number)), Key("other", f"b{number}", str(number))
