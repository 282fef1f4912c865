"""The id of the request that a thread handles, in each log line about the request.

Use ``log = request_log(__name__)`` like a logger. The same id is in ``X-Request-ID``, on error
pages and in the audit log. So an operator can find all lines about one request. Lines about the
state of Redis have no id, because they concern all requests.
"""

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

_request_id: ContextVar[str | None] = ContextVar("authapp_request_id", default=None)


def name_lines(request_id: str) -> Callable[[], None]:
    """Add an id to the lines that this thread writes from now on to :func:`request_log` loggers.

    :param request_id: the id, of letters, digits, and ``.``, ``_`` and ``-``.
    :returns: a function that removes the id again.
    """
    token = _request_id.set(request_id)
    return lambda: _request_id.reset(token)


class _RequestLog(logging.LoggerAdapter):  # type: ignore[type-arg]
    """A logger whose lines end with the id of the request, if there is one."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the id to a message."""
        found = _request_id.get()
        return (msg if found is None else f"{msg} [request {found}]"), kwargs


def request_log(name: str) -> "logging.LoggerAdapter[logging.Logger]":
    """Return the logger of a module.

    :param name: the name of the module.
    """
    return _RequestLog(logging.getLogger(name))
