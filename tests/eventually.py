"""Wait until other threads, processes or servers have done something, however slow they are."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], object], seconds: float = 10) -> float:
    """Wait until a condition is true.

    :param seconds: fail after this time.
    :returns: how many seconds it took.
    """
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.01)
    return time.monotonic() - began
