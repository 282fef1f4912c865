"""What tests of a session's limits share: a clock, and the session cookies of a response."""

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine

from site_under_test import COOKIE


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        yield clock


def writes(answer: Any) -> list[str]:
    """Return the ``Set-Cookie`` headers of a response that are about the session cookie."""
    return [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE + "=")]
