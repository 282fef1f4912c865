"""Loggers that add the id of the current request to each log line.

Write ``log = request_log(__name__)`` in place of ``log = logging.getLogger(__name__)``. With the
id, an operator finds all log lines about one request. The same id is in the response header
``X-Request-ID``, on error pages and in the audit log. Lines about the state of Redis have no id,
because they concern all requests.
"""

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

_request_id: ContextVar[str | None] = ContextVar("authapp_request_id", default=None)


def name_lines(request_id: str) -> Callable[[], None]:
    """Set the id of the request that this thread handles now.

    Each line that the thread logs with a logger from :func:`request_log` then ends with the id.

    :param request_id: letters, digits, ``.``, ``_`` and ``-``.
    :returns: a function that restores the earlier id, or no id.
    """
    token = _request_id.set(request_id)
    return lambda: _request_id.reset(token)


class _RequestLog(logging.LoggerAdapter):  # type: ignore[type-arg]
    """A logger whose lines end with the id of the current request, if there is a request."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Return a message with the id at its end, and ``kwargs`` unchanged."""
        found = _request_id.get()
        return (msg if found is None else f"{msg} [request {found}]"), kwargs


def request_log(name: str) -> "logging.LoggerAdapter[logging.Logger]":
    """Return a logger for a module that adds the id of the current request to each line.

    :param name: the name of the module.
    """
    return _RequestLog(logging.getLogger(name))
