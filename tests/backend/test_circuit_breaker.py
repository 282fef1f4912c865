"""The circuit breaker decides which calls are allowed while the backend is down."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker
from authapp.backend.protocol import (
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    NoResponse,
)
from authapp.session.session import TokenPair
from authapp.store.memory import MemoryStore
from eventually import eventually


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(MemoryStore(clock), Bulkhead(3, clock), clock)


def attempt(
    breaker: CircuitBreaker, error: Exception | None = None, session: str | None = None
) -> str:
    """Call the backend through the circuit breaker. Return ``ok``, or the reason for the
    failure."""
    try:
        with breaker.call(session and TokenPair("access", session)):
            if error:
                raise error
    except (BackendUnavailable, BackendRejected) as raised:
        return str(raised)
    return "ok"


EARLY = "the backend is down"


def test_pauses_grow_until_the_backend_responds(breaker: CircuitBreaker, clock: Clock) -> None:
    pause = FIRST_PAUSE
    for _ in range(6):
        assert attempt(breaker, BackendDown("dead")) == "dead"
        assert not breaker.closed
        clock.now += pause * 0.74
        assert attempt(breaker) == EARLY
        clock.now += pause * 0.52
        pause = min(2 * pause, LONGEST_PAUSE)
    assert attempt(breaker, BackendRejected("no")) == "no", "a rejection is a response"
    assert breaker.closed
    assert attempt(breaker) == "ok"


def test_only_one_probe_runs_at_a_time(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendDown("dead"))
    clock.now += 1
    with breaker.call():
        assert attempt(breaker) == EARLY
    assert attempt(breaker) == "ok"


def test_a_closed_breaker_allows_concurrent_calls(breaker: CircuitBreaker) -> None:
    with breaker.call(), breaker.call():
        assert attempt(breaker) == "ok"


def test_retry_after_is_honoured(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendDown("busy", retry_after=30))
    clock.now += 29
    with pytest.raises(BackendUnavailable) as caught, breaker.call():
        pass
    assert caught.value.retry_after == pytest.approx(1)
    clock.now += 1
    assert attempt(breaker) == "ok"


def test_an_exception_in_backend_code_raises_backend_unavailable(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    assert attempt(breaker, KeyError("secret token")) == "KeyError"
    assert "BackendFailed: KeyError" in caplog.text
    assert "secret token" not in caplog.text


def test_an_interrupt_frees_the_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendDown("dead"))
    clock.now += 1
    interrupted: Any = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), breaker.call():
        raise interrupted
    assert attempt(breaker) == "ok"


BAD = BackendUnavailable("500")


def test_bad_responses_for_one_session_do_not_open_the_breaker(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        assert attempt(breaker, BAD, "deleted user") == "500"
        assert attempt(breaker, BAD) == "500", (
            "sign-ins do not open the breaker, because a user can type any name"
        )
    assert breaker.closed
    assert attempt(breaker, None, "another") == "ok"


def test_a_throttled_session_throttles_no_other_session(breaker: CircuitBreaker) -> None:
    """A backend limits the requests of each user, and one user renews in a loop. The renewals of
    other users still succeed."""
    throttled = BackendThrottled("busy", retry_after=300)
    for _ in range(10):
        assert attempt(breaker, throttled, "in a loop") == "busy"
    assert attempt(breaker, None, "another") == "ok"
    for number in range(3):
        attempt(breaker, throttled, str(number))
    assert attempt(breaker, None, "another") == EARLY, "the backend limits the whole site"


def test_a_throttled_probe_throttles_no_other_session(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    attempt(breaker, BackendDown("dead"))
    clock.now += 1
    attempt(breaker, BackendThrottled("busy", retry_after=300), "in a loop")
    assert not breaker.closed
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(breaker, None, "another") == "ok"


def test_a_lost_response_opens_the_breaker_unless_another_call_was_answered(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    def fail_while_another_call_is_answered(error: BackendDown) -> None:
        with suppress(BackendDown), breaker.call():
            clock.now += 1
            assert attempt(breaker) == "ok"
            clock.now += 1
            raise error

    fail_while_another_call_is_answered(NoResponse("lost"))
    assert breaker.closed
    fail_while_another_call_is_answered(BackendDown("503", retry_after=60))
    assert not breaker.closed, "the backend itself says that it is down"
    clock.now += 60 * 1.25
    assert attempt(breaker) == "ok"
    assert attempt(breaker, NoResponse("lost")) == "lost"
    assert not breaker.closed


def test_bad_responses_for_several_sessions_in_a_row_open_the_breaker(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for number in range(2):
        attempt(breaker, BAD, str(number))
    attempt(breaker, None, "well")
    for number in range(2, 5):
        assert breaker.closed, "the bad responses before the good one do not count"
        attempt(breaker, BAD, str(number))
    assert attempt(breaker, None, "well") == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(breaker, BAD) == "500", (
        "while the backend is down, any bad response keeps the breaker open"
    )
    assert attempt(breaker) == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(breaker, None, "well") == "ok"
    assert breaker.closed


def test_a_bad_response_shows_that_the_backend_is_not_slow(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    with ExitStack() as running:
        for _ in range(3):
            running.enter_context(breaker.call())
        with suppress(BackendUnavailable), breaker.call():
            clock.now += 1.5
            assert attempt(breaker) == "the backend is slow and all slots are taken"
            raise BAD
        assert attempt(breaker) == "ok"


def test_processes_share_the_state_of_the_breaker(clock: Clock) -> None:
    shared = MemoryStore(clock)
    one, two = (CircuitBreaker(shared, Bulkhead(3, clock), clock) for _ in range(2))
    attempt(one, BackendDown("dead"))
    assert attempt(two) == EARLY
    clock.now += FIRST_PAUSE * 1.25
    assert attempt(one) == "ok"
    assert attempt(two) == "ok"
    assert attempt(one) == "ok", "the other process has closed the breaker for both processes"


def test_backend_down_is_logged_again_after_a_minute_without_calls(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """If a process has made no call for a minute, it does not know whether the backend was up in
    that minute. So the process logs the next failure again."""
    for seconds in (0, 2, 59, 70):
        clock.now += seconds
        attempt(breaker, BackendDown(f"dead after {seconds}"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said] == [
        "BackendDown: refresh: dead after 0",
        "BackendDown: refresh: dead after 70",
    ]


def test_a_breaker_opened_by_another_verb_logs_nothing(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker.open(BackendDown("no connection"), quiet=True)
    clock.now += 2
    assert attempt(breaker) == "ok"
    assert breaker.closed
    assert caplog.text == ""


def test_another_verb_postpones_no_probe_of_an_open_breaker(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    breaker.open(BackendDown("no connection", 30))
    clock.now += 31
    breaker.open(BackendDown("no connection", 30), quiet=True)
    assert attempt(breaker) == "ok"


def test_a_call_that_has_waited_for_a_slot_finds_out_that_the_breaker_is_open(
    clock: Clock,
) -> None:
    breaker = CircuitBreaker(MemoryStore(clock), Bulkhead(2, clock), clock)

    def call() -> str:
        with pytest.raises(BackendDown) as caught, breaker.call(user="alice"):
            raise AssertionError
        return caught.value.reason

    with ThreadPoolExecutor(1) as pool:
        with suppress(BackendDown), breaker.call(user="alice"):
            waiting = pool.submit(call)
            eventually(lambda: breaker.bulkhead.times.changed._waiters)
            raise BackendDown("503")
        assert waiting.result(20) == EARLY
