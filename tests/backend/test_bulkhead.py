"""Who may wait for a backend that has not answered yet."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from authapp.backend import bulkhead as module
from authapp.backend.bulkhead import Bulkhead
from authapp.backend.protocol import BackendDown
from eventually import eventually


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_CALL", 0.2)


def hang(bulkhead: Bulkhead, pool: ThreadPoolExecutor, count: int) -> tuple[threading.Event, list]:  # type: ignore[type-arg]
    """Some calls that wait until they are let go."""
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


def test_a_seat_is_free(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = hang(bulkhead, pool, 1)
    assert call(bulkhead) == "begun"
    go.set()
    calls[0].result(5)


def test_standing_one_begins_when_there_is_a_sign(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = hang(bulkhead, pool, 2)
    standing = pool.submit(call, bulkhead)
    eventually(lambda: bulkhead._waiting == 3, 5)
    assert not standing.done()
    bulkhead.answered(0.01)
    assert standing.result(5) == "begun"
    assert call(bulkhead) == "begun", "there was a sign since the calls began"
    go.set()
    for each in calls:
        each.result(5)


def test_standing_one_gives_up_when_the_silence_is_unusual(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, calls = hang(bulkhead, pool, 2)
    began = time.monotonic()
    assert call(bulkhead) == "the backend is slow and all slots are taken"
    assert time.monotonic() - began < 2
    began = time.monotonic()
    assert call(bulkhead) == "the backend is slow and all slots are taken"
    assert time.monotonic() - began < 0.1, "the next one is answered at once"
    assert not any(each.done() for each in calls), "who has a seat waits it out"
    go.set()
    for each in calls:
        each.result(5)
    assert call(bulkhead) == "begun"


def test_a_backend_that_is_usually_slow_is_given_time(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(1)
    bulkhead.answered(60)
    go, _ = hang(bulkhead, pool, 1)
    standing = pool.submit(call, bulkhead)
    over = time.monotonic() + 0.4
    eventually(lambda: time.monotonic() > over, 5)
    assert not standing.done()
    bulkhead.answered(1)
    assert standing.result(5) == "begun"
    go.set()


@pytest.mark.parametrize("slots", [1, 5])
def test_the_result_of_anothers_call(pool: ThreadPoolExecutor, slots: int) -> None:
    bulkhead = Bulkhead(slots)
    go, _ = hang(bulkhead, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(bulkhead.wait_for, future, 5)
    eventually(lambda: bulkhead._waiting == 2, 5)
    future.set_result("done")
    assert result.result(5) == "done"
    go.set()


def test_a_seat_waits_for_a_result_as_long_as_it_may(pool: ThreadPoolExecutor) -> None:
    bulkhead = Bulkhead(2)
    go, _ = hang(bulkhead, pool, 1)
    began = time.monotonic()
    assert bulkhead.wait_for(Future(), 0.4) is None
    assert time.monotonic() - began >= 0.4
    go.set()


def test_standing_one_waits_for_a_result_until_the_silence_is_unusual(
    pool: ThreadPoolExecutor,
) -> None:
    bulkhead = Bulkhead(1)
    go, _ = hang(bulkhead, pool, 1)
    began = time.monotonic()
    assert bulkhead.wait_for(Future(), 30) is None
    assert time.monotonic() - began < 5
    go.set()


def test_standing_one_waits_on_while_the_backend_answers_others(
    pool: ThreadPoolExecutor,
) -> None:
    bulkhead = Bulkhead(1)
    go, _ = hang(bulkhead, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(bulkhead.wait_for, future, 30)
    over = time.monotonic() + 0.6
    while time.monotonic() < over:
        bulkhead.answered(0.01)
    assert not result.done()
    future.set_result("done")
    assert result.result(5) == "done"
    go.set()
