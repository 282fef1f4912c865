"""The place where telemetry attaches: renewals and calls of the backend run inside an observer.

Nothing is observed unless the application includes :mod:`authapp.telemetry`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Facts = dict[str, str | bool | float]
"""What is known about one renewal or call: names and values, without secrets and user ids.

The observed code adds facts before it leaves the observer's context.
"""

Observer = Callable[[str, Facts], AbstractContextManager[object]]
"""Takes the name of what is observed (``renewal``, ``backend.call``) and its facts."""


def unobserved(what: str, facts: Facts) -> AbstractContextManager[object]:
    """Observe nothing. This is the observer of an application without telemetry."""
    return nullcontext()
