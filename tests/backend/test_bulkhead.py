"""The bulkhead limits how many requests can wait for a backend that has not responded yet."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.protocol import BackendDown
from backend import slow_calls
from eventually import eventually

pool = slow_calls.pool


@pytest.fixture(autouse=True)
def short_slow_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authapp.backend.bulkhead.SLOW_CALL", 0.2)


def start_blocked_calls(
    bulkhead: Bulkhead, pool: ThreadPoolExecutor, count: int
) -> tuple[threading.Event, list]:  # type: ignore[type-arg]
    """Start ``count`` calls that block. Return the event that releases them, and their futures."""
    go = threading.Event()

    def call() -> None:
        with bulkhead.call():
            assert go.wait(10)

    calls = [pool.submit(call) for _ in range(count)]
    eventually(lambda: bulkhead._waiting == count, 5)
    return go, calls


def call(bulkhead: Bulkhead) -> str:
    try:
        with bulkhead.call():
            return "begun"
    except BackendDown as error:
        return error.reason


def test_a_call_starts_when_a_slot_is_free(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = start_blocked_calls(bulkhead, pool, 1)
    assert call(bulkhead) == "begun"
    go.set()
    calls[0].result(20)


def test_a_waiting_call_starts_after_the_backend_responds(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = start_blocked_calls(bulkhead, pool, 2)
    standing = pool.submit(call, bulkhead)
    eventually(lambda: bulkhead._waiting == 3, 5)
    assert not standing.done()
    bulkhead.times.answered(0.01)
    assert standing.result(20) == "begun"
    assert call(bulkhead) == "begun", "the backend has responded since the blocked calls began"
    go.set()
    for each in calls:
        each.result(20)


def test_a_waiting_call_fails_after_the_slow_call_threshold(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = start_blocked_calls(bulkhead, pool, 2)
    began = time.monotonic()
    assert call(bulkhead) == "the backend is slow and all slots are taken"
    assert time.monotonic() - began < 2
    began = time.monotonic()
    assert call(bulkhead) == "the backend is slow and all slots are taken"
    assert time.monotonic() - began < 0.1, "the next call fails immediately"
    assert not any(each.done() for each in calls), "calls that have a slot keep waiting"
    go.set()
    for each in calls:
        each.result(20)
    assert call(bulkhead) == "begun"


def test_a_backend_that_is_usually_slow_has_a_longer_threshold(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(1)
    bulkhead.times.answered(60)
    go, _ = start_blocked_calls(bulkhead, pool, 1)
    standing = pool.submit(call, bulkhead)
    over = time.monotonic() + 0.4
    eventually(lambda: time.monotonic() > over, 5)
    assert not standing.done()
    bulkhead.times.answered(1)
    assert standing.result(20) == "begun"
    go.set()


@pytest.mark.parametrize("slots", [1, 5])
def test_a_follower_gets_the_result_of_the_leaders_call(
    pool: ThreadPoolExecutor, slots: int
) -> None:
    bulkhead = Bulkhead(slots)
    go, _ = start_blocked_calls(bulkhead, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(bulkhead.wait_for, future, 5)
    eventually(lambda: bulkhead._waiting == 2, 5)
    future.set_result("done")
    assert result.result(20) == "done"
    go.set()


def test_wait_for_with_a_free_slot_waits_for_the_full_timeout(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, _ = start_blocked_calls(bulkhead, pool, 1)
    began = time.monotonic()
    assert bulkhead.wait_for(Future(), 0.4) is None
    assert time.monotonic() - began >= 0.4
    go.set()


def test_wait_for_without_a_slot_gives_up_after_the_slow_call_threshold(
    pool: ThreadPoolExecutor,
) -> None:
    bulkhead = Bulkhead(1)
    go, _ = start_blocked_calls(bulkhead, pool, 1)
    began = time.monotonic()
    assert bulkhead.wait_for(Future(), 30) is None
    assert time.monotonic() - began < 5
    go.set()


def test_wait_for_without_a_slot_continues_while_the_backend_responds(
    pool: ThreadPoolExecutor,
) -> None:
    bulkhead = Bulkhead(1)
    go, _ = start_blocked_calls(bulkhead, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(bulkhead.wait_for, future, 30)
    over = time.monotonic() + 0.6
    while time.monotonic() < over:
        bulkhead.times.answered(0.01)
    assert not result.done()
    future.set_result("done")
    assert result.result(20) == "done"
    go.set()


def test_calls_of_one_user_leave_a_slot_for_other_users(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = start_blocked_calls(bulkhead, pool, 0)

    def call_of(user: str) -> str:
        try:
            with bulkhead.call(user):
                return "begun"
        except BackendDown as error:
            return error.reason

    with bulkhead.call("alice"):
        assert pool.submit(call_of, "alice").result(20) == (
            "the backend is slow for other calls of this user"
        )
        assert pool.submit(call_of, "alice").result(20).startswith("the backend is slow")
        assert call_of("bob") == "begun"
    with bulkhead.call("alice"):
        second = pool.submit(call_of, "alice")
        assert not second.done()
    assert second.result(20) == "begun"
    assert not calls
    go.set()
