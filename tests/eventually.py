"""Wait for something that other threads, processes or servers do, however slow they are."""

import os
import time
from collections.abc import Callable


def eventually(check: Callable[[], object], seconds: float = 10) -> float:
    """Wait until a condition is true. Return how many seconds this took.

    On a machine with more work than processors, a second counts less: with a load of 8 on two
    processors, four seconds count as one.

    :param seconds: fail if the condition is not true after this time.
    """
    began = time.monotonic()
    while not check():
        assert (time.monotonic() - began) / _busy() < seconds, "it did not come true"
        time.sleep(0.01)
    return (time.monotonic() - began) / _busy()


def _busy() -> float:
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
