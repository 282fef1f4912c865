"""Wait for what other threads, processes and servers do, for as long as it takes."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], object], seconds: float = 10) -> float:
    """Wait until something is true.

    :param seconds: after which it will not come true any more.
    :returns: how many it took.
    """
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.01)
    return time.monotonic() - began
