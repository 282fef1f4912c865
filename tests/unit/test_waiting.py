"""Who may wait for a backend that has not answered yet."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from authapp.backend import BackendDown
from authapp.backend import waiting as module
from authapp.backend.waiting import Waiting
from eventually import eventually


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNUSUAL", 0.2)


def hang(waiting: Waiting, pool: ThreadPoolExecutor, count: int) -> tuple[threading.Event, list]:  # type: ignore[type-arg]
    """Some calls that wait until they are let go."""
    go = threading.Event()

    def call() -> None:
        with waiting.call():
            assert go.wait(10)

    calls = [pool.submit(call) for _ in range(count)]
    eventually(lambda: waiting._present == count, 5)
    return go, calls


def call(waiting: Waiting) -> str:
    try:
        with waiting.call():
            return "begun"
    except BackendDown as error:
        return error.reason


def test_a_seat_is_free(pool: ThreadPoolExecutor) -> None:
    waiting = Waiting(2)
    go, calls = hang(waiting, pool, 1)
    assert call(waiting) == "begun"
    go.set()
    calls[0].result(5)


def test_standing_one_begins_when_there_is_a_sign(pool: ThreadPoolExecutor) -> None:
    waiting = Waiting(2)
    go, calls = hang(waiting, pool, 2)
    standing = pool.submit(call, waiting)
    eventually(lambda: waiting._present == 3, 5)
    assert not standing.done()
    waiting.answered(0.01)
    assert standing.result(5) == "begun"
    assert call(waiting) == "begun", "there was a sign since the calls began"
    go.set()
    for each in calls:
        each.result(5)


def test_standing_one_gives_up_when_the_silence_is_unusual(pool: ThreadPoolExecutor) -> None:
    waiting = Waiting(2)
    go, calls = hang(waiting, pool, 2)
    began = time.monotonic()
    assert call(waiting) == "it has been silent for a while"
    assert time.monotonic() - began < 2
    began = time.monotonic()
    assert call(waiting) == "it has been silent for a while"
    assert time.monotonic() - began < 0.1, "the next one is answered at once"
    assert not any(each.done() for each in calls), "who has a seat waits it out"
    go.set()
    for each in calls:
        each.result(5)
    assert call(waiting) == "begun"


def test_a_backend_that_is_usually_slow_is_given_time(pool: ThreadPoolExecutor) -> None:
    waiting = Waiting(1)
    waiting.answered(60)
    go, _ = hang(waiting, pool, 1)
    standing = pool.submit(call, waiting)
    over = time.monotonic() + 0.4
    eventually(lambda: time.monotonic() > over, 5)
    assert not standing.done()
    waiting.answered(1)
    assert standing.result(5) == "begun"
    go.set()


@pytest.mark.parametrize("seats", [1, 5])
def test_the_result_of_anothers_call(pool: ThreadPoolExecutor, seats: int) -> None:
    waiting = Waiting(seats)
    go, _ = hang(waiting, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(waiting.result, future, 5)
    eventually(lambda: waiting._present == 2, 5)
    future.set_result("done")
    assert result.result(5) == "done"
    go.set()


def test_a_seat_waits_for_a_result_as_long_as_it_may(pool: ThreadPoolExecutor) -> None:
    waiting = Waiting(2)
    go, _ = hang(waiting, pool, 1)
    began = time.monotonic()
    assert waiting.result(Future(), 0.4) is None
    assert time.monotonic() - began >= 0.4
    go.set()


def test_standing_one_waits_for_a_result_until_the_silence_is_unusual(
    pool: ThreadPoolExecutor,
) -> None:
    waiting = Waiting(1)
    go, _ = hang(waiting, pool, 1)
    began = time.monotonic()
    assert waiting.result(Future(), 30) is None
    assert time.monotonic() - began < 5
    go.set()


def test_standing_one_waits_on_while_the_backend_answers_others(
    pool: ThreadPoolExecutor,
) -> None:
    waiting = Waiting(1)
    go, _ = hang(waiting, pool, 1)
    future: Future[str] = Future()
    result = pool.submit(waiting.result, future, 30)
    over = time.monotonic() + 0.6
    while time.monotonic() < over:
        waiting.answered(0.01)
    assert not result.done()
    future.set_result("done")
    assert result.result(5) == "done"
    go.set()
