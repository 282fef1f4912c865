"""Who may try a backend that does not answer."""

from typing import Any

import pytest

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker
from authapp.backend.protocol import (
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
)
from authapp.session.session import TokenPair
from authapp.store.memory import MemoryStore


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
    """What became of a call: the reason it failed for, or ``ok``."""
    try:
        with breaker.call(session and TokenPair("access", session)):
            if error:
                raise error
    except (BackendUnavailable, BackendRejected) as raised:
        return str(raised)
    return "ok"


EARLY = "the backend is down"


def test_pauses_grow_and_an_answer_ends_them(breaker: CircuitBreaker, clock: Clock) -> None:
    pause = FIRST_PAUSE
    for _ in range(6):
        assert attempt(breaker, BackendDown("dead")) == "dead"
        assert not breaker.closed
        clock.now += pause * 0.74
        assert attempt(breaker) == EARLY
        clock.now += pause * 0.52
        pause = min(2 * pause, LONGEST_PAUSE)
    assert attempt(breaker, BackendRejected("no")) == "no", "a rejection is an answer"
    assert breaker.closed
    assert attempt(breaker) == "ok"


def test_one_probe_at_a_time(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendDown("dead"))
    clock.now += 1
    with breaker.call():
        assert attempt(breaker) == EARLY
    assert attempt(breaker) == "ok"


def test_while_it_is_well_all_may_call_at_once(breaker: CircuitBreaker) -> None:
    with breaker.call(), breaker.call():
        assert attempt(breaker) == "ok"


def test_retry_after_is_honoured(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendThrottled("busy", retry_after=30))
    clock.now += 29
    with pytest.raises(BackendUnavailable) as caught, breaker.call():
        pass
    assert caught.value.retry_after == pytest.approx(1)
    clock.now += 1
    assert attempt(breaker) == "ok"


def test_a_bug_in_a_backend_is_unavailability(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    assert attempt(breaker, KeyError("secret token")) == "KeyError"
    assert "BackendFailed: KeyError" in caplog.text
    assert "secret token" not in caplog.text


def test_what_ends_the_process_frees_the_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    attempt(breaker, BackendDown("dead"))
    clock.now += 1
    interrupted: Any = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), breaker.call():
        raise interrupted
    assert attempt(breaker) == "ok"


BAD = BackendUnavailable("500")


def test_one_session_with_bad_answers_is_nobody_elses_trouble(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        assert attempt(breaker, BAD, "deleted user") == "500"
        assert attempt(breaker, BAD) == "500", "nor are sign-ins, for which anybody picks a name"
    assert breaker.closed
    assert attempt(breaker, None, "another") == "ok"


def test_several_sessions_in_a_row_with_bad_answers_are_the_backends(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for number in range(2):
        attempt(breaker, BAD, str(number))
    attempt(breaker, None, "well")
    for number in range(3):
        assert breaker.closed
        attempt(breaker, BAD, str(number))
    assert attempt(breaker, None, "well") == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(breaker, BAD) == "500", "while it is down, any bad answer keeps it so"
    assert attempt(breaker) == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(breaker, None, "well") == "ok"
    assert breaker.closed


def test_what_one_process_finds_out_the_others_need_not(clock: Clock) -> None:
    shared = MemoryStore(clock)
    one, two = (CircuitBreaker(shared, Bulkhead(3, clock), clock) for _ in range(2))
    attempt(one, BackendDown("dead"))
    assert attempt(two) == EARLY
    clock.now += FIRST_PAUSE * 1.25
    assert attempt(one) == "ok"
    assert attempt(two) == "ok"
    assert attempt(one) == "ok", "and that it is back is known too"


def test_the_log_says_again_that_it_is_away_when_that_was_long_ago(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that nobody has asked for anything since does not know that it was back."""
    for seconds in (0, 2, 59, 70):
        clock.now += seconds
        attempt(breaker, BackendDown(f"dead after {seconds}"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said] == [
        "BackendDown: refresh: dead after 0",
        "BackendDown: refresh: dead after 70",
    ]


def test_a_breaker_that_another_verb_opened_says_nothing(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker.open(BackendDown("no connection"), quiet=True)
    clock.now += 2
    assert attempt(breaker) == "ok"
    assert breaker.closed
    assert caplog.text == ""
