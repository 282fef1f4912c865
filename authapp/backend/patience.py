"""How long the HTTP client may wait for the response to a call."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Patience:
    """No limit but the timeout of the call."""

    def seconds(self) -> float:
        """Return after how many seconds the client must call this method again.

        :raises CallGivenUp: if the client must stop waiting.
        """
        return math.inf


_patience: ContextVar[Patience] = ContextVar("patience", default=Patience())  # noqa: B039


def current_patience() -> Patience:
    """Return how long the HTTP client may wait in the current context."""
    return _patience.get()


@contextmanager
def with_patience(patience: Patience) -> Iterator[None]:
    """Enter this context around a call."""
    before = _patience.set(patience)
    try:
        yield
    finally:
        _patience.reset(before)
