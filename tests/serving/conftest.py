"""What all tests of the server share."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def ignore_late_sigterm() -> Iterator[None]:
    """Ignore a SIGTERM that arrives after the server has stopped."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)
