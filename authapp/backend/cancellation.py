"""How a running call of the backend is cancelled, so that its thread is free for other requests."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancellation:
    """Decides whether one call must end before its timeout.

    This base class never ends a call. Its subclasses may.
    """

    def check(self) -> float:
        """Return after how many seconds the HTTP client must call this method again.

        :raises CallCancelled: if the client must stop waiting for the response.
        """
        return math.inf


_cancellation: ContextVar[Cancellation] = ContextVar(
    "cancellation",
    default=Cancellation(),  # noqa: B039
)


def current_cancellation() -> Cancellation:
    """Return the cancellation of the call that runs in the current context."""
    return _cancellation.get()


@contextmanager
def with_cancellation(cancellation: Cancellation) -> Iterator[None]:
    """Enter this context around a call that ``cancellation`` may cancel."""
    before = _cancellation.set(cancellation)
    try:
        yield
    finally:
        _cancellation.reset(before)
