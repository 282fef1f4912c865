"""With pyramid_retry, ensures that the second attempt of a request does not call the backend again.

If the transaction of a request fails, pyramid_retry handles the request again. The database then
undoes the first attempt, but a call of the backend cannot be undone. So authapp makes such a call
only once (:func:`once`). A later attempt gets the outcome of the first attempt.

pyramid_retry uses one WSGI environ for all attempts of a request. The key ``retry.attempt`` of the
environ contains the number of the attempt.
"""

import sys
from collections.abc import Callable, Hashable
from typing import TypeVar

from pyramid.request import Request

T = TypeVar("T")

_OUTCOMES = "authapp.attempts"


class _Outcomes(dict[Hashable, tuple[int, object]]):
    """Step -> number of the attempt that took the step, and the outcome of the step."""

    def __repr__(self) -> str:
        return "<outcomes>"  # the keys contain passwords and tokens


def once(request: Request, step: Hashable, act: Callable[[], T]) -> T:
    """Call a function, unless an earlier attempt of this request has called it for the same step.

    Without pyramid_retry, the function is always called.

    :param step: identifies the step: its name and its values.
    :param act: the function.
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
    """Return True if pyramid_retry will handle the request again because of this exception."""
    retry = sys.modules.get("pyramid_retry")  # an application that uses it has imported it
    return retry is not None and bool(retry.is_error_retryable(request, error))
