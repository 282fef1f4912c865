"""Who may try a backend that does not answer."""

from typing import Any

import pytest

from authapp.backend import (
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
)
from authapp.backend.health import FIRST_PAUSE, LONGEST_PAUSE, Health
from authapp.backend.waiting import Waiting
from authapp.session import TokenPair
from authapp.shared.memory import MemoryShared


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(MemoryShared(clock), Waiting(3, clock), clock)


def attempt(health: Health, error: Exception | None = None, session: str | None = None) -> str:
    """What became of a call: the reason it failed for, or ``ok``."""
    try:
        with health.attempt(session and TokenPair("access", session)):
            if error:
                raise error
    except (BackendUnavailable, BackendRejected) as raised:
        return str(raised)
    return "ok"


EARLY = "it did not answer a moment ago"


def test_pauses_grow_and_an_answer_ends_them(health: Health, clock: Clock) -> None:
    pause = FIRST_PAUSE
    for _ in range(6):
        assert attempt(health, BackendDown("dead")) == "dead"
        assert not health.up
        clock.now += pause * 0.74
        assert attempt(health) == EARLY
        clock.now += pause * 0.52
        pause = min(2 * pause, LONGEST_PAUSE)
    assert attempt(health, BackendRejected("no")) == "no", "a rejection is an answer"
    assert health.up
    assert attempt(health) == "ok"


def test_one_probe_at_a_time(health: Health, clock: Clock) -> None:
    attempt(health, BackendDown("dead"))
    clock.now += 1
    with health.attempt():
        assert attempt(health) == EARLY
    assert attempt(health) == "ok"


def test_while_it_is_well_all_may_call_at_once(health: Health) -> None:
    with health.attempt(), health.attempt():
        assert attempt(health) == "ok"


def test_retry_after_is_honoured(health: Health, clock: Clock) -> None:
    attempt(health, BackendThrottled("busy", retry_after=30))
    clock.now += 29
    with pytest.raises(BackendUnavailable) as caught, health.attempt():
        pass
    assert caught.value.retry_after == pytest.approx(1)
    clock.now += 1
    assert attempt(health) == "ok"


def test_a_bug_in_a_backend_is_unavailability(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    assert attempt(health, KeyError("secret token")) == "KeyError"
    assert "BackendFailed: KeyError" in caplog.text
    assert "secret token" not in caplog.text


def test_what_ends_the_process_frees_the_probe(health: Health, clock: Clock) -> None:
    attempt(health, BackendDown("dead"))
    clock.now += 1
    interrupted: Any = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), health.attempt():
        raise interrupted
    assert attempt(health) == "ok"


BAD = BackendUnavailable("500")


def test_one_session_with_bad_answers_is_nobody_elses_trouble(health: Health) -> None:
    for _ in range(10):
        assert attempt(health, BAD, "deleted user") == "500"
        assert attempt(health, BAD) == "500", "nor are sign-ins, for which anybody picks a name"
    assert health.up
    assert attempt(health, None, "another") == "ok"


def test_several_sessions_in_a_row_with_bad_answers_are_the_backends(
    health: Health, clock: Clock
) -> None:
    for number in range(2):
        attempt(health, BAD, str(number))
    attempt(health, None, "well")
    for number in range(3):
        assert health.up
        attempt(health, BAD, str(number))
    assert attempt(health, None, "well") == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(health, BAD) == "500", "while it is down, any bad answer keeps it so"
    assert attempt(health) == EARLY
    clock.now += LONGEST_PAUSE * 1.25
    assert attempt(health, None, "well") == "ok"
    assert health.up


def test_what_one_process_finds_out_the_others_need_not(clock: Clock) -> None:
    shared = MemoryShared(clock)
    one, two = (Health(shared, Waiting(3, clock), clock) for _ in range(2))
    attempt(one, BackendDown("dead"))
    assert attempt(two) == EARLY
    clock.now += FIRST_PAUSE * 1.25
    assert attempt(one) == "ok"
    assert attempt(two) == "ok"
    assert attempt(one) == "ok", "and that it is back is known too"


def test_the_log_says_again_that_it_is_away_when_that_was_long_ago(
    health: Health, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that nobody has asked for anything since does not know that it was back."""
    for seconds in (0, 2, 59, 70):
        clock.now += seconds
        attempt(health, BackendDown(f"dead after {seconds}"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said] == [
        "BackendAway: dead after 0",
        "BackendAway: dead after 70",
    ]
