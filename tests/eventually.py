"""Wait for something that other threads, processes or servers do, however slow they are."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], object], seconds: float = 10) -> float:
    """Wait until a condition is true. Return how many seconds this took.

    :param seconds: fail if the condition is not true after this time.
    """
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.01)
    return time.monotonic() - began
