"""The observer, with which telemetry measures renewals and calls of the backend.

Every renewal and every call of the backend runs inside the observer, which is a context manager.

Without :mod:`authapp.telemetry`, the observer does nothing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Facts = dict[str, str | bool | float]
"""The facts about one renewal or call: names and values, without secrets and user ids.

The code that runs inside the observer adds facts before the observer ends.
"""

Observer = Callable[[str, Facts], AbstractContextManager[object]]
"""A function that returns a context manager. Its arguments are what is observed (``renewal`` or
``backend.call``) and the facts."""


def unobserved(what: str, facts: Facts) -> AbstractContextManager[object]:
    """Observe nothing. This is the observer of an application without telemetry."""
    return nullcontext()
