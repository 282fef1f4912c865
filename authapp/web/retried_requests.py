"""The attempts of one request: an attempt reuses what an earlier attempt got from the backend.

pyramid_retry handles a request again if its transaction fails. Everything in the database is then
undone, but a call of the backend cannot be undone. So an attempt that repeats a step of an earlier
attempt gets the outcome of that step, and the backend is not called again.

pyramid_retry uses one WSGI environ for all attempts of a request, with the number of the attempt
in the key ``retry.attempt``.
"""

import sys
from collections.abc import Callable, Hashable
from typing import TypeVar

from pyramid.request import Request

T = TypeVar("T")

_OUTCOMES = "authapp.attempts"


class _Outcomes(dict[Hashable, tuple[int, object]]):
    """Step -> number of the attempt that took the step, and its outcome."""

    def __repr__(self) -> str:
        return "<outcomes>"  # the keys contain passwords and tokens


def once(request: Request, step: Hashable, act: Callable[[], T]) -> T:
    """Take a step, unless an earlier attempt of this request has taken it.

    Without pyramid_retry, each call takes the step.

    :param step: the name of the step and its values. They identify the step.
    :param act: a function that takes the step.
    :returns: what ``act`` returns, or what it returned in the earlier attempt.
    """
    attempt: int | None = request.environ.get("retry.attempt")
    if attempt is None:
        return act()
    outcomes = request.environ.setdefault(_OUTCOMES, _Outcomes())
    number, outcome = outcomes.get(step, (attempt, None))
    if number == attempt:
        outcome = act()
        outcomes[step] = attempt, outcome
    known: T = outcome
    return known


def will_be_retried(request: Request, error: BaseException) -> bool:
    """Return True if pyramid_retry handles the request again because of an exception."""
    retry = sys.modules.get("pyramid_retry")  # an application that uses it has imported it
    return retry is not None and bool(retry.is_error_retryable(request, error))
