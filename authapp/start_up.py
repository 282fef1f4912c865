"""Errors of the configuration. At start-up, they are shown without a traceback.

``pserve`` does not catch the errors of an application. So Python would print a traceback of
Pyramid's and authapp's code before the text that the operator needs. This module sets Python's hook
for uncaught exceptions (``sys.excepthook``). The hook only changes how a :class:`StartUpError` is
printed. Code that catches the error, such as gunicorn or a test, gets an ordinary exception.

This module imports nothing of authapp, so that every room may use it.
"""

import sys
from types import TracebackType

from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError


class StartUpError(ConfigurationError):
    """The application or the server cannot start. Each line of the text is one problem."""


class CannotListen(StartUpError, OSError):
    """The server cannot use its address."""

    def __str__(self) -> str:
        return str(self.strerror)


class OptionError(StartUpError, ValueError):
    """An option of the server has a value that is not allowed."""


_before = sys.excepthook


def show_without_traceback() -> None:
    """Show an uncaught :class:`StartUpError` of this process as its text alone."""
    global _before
    if sys.excepthook is not _show:
        _before, sys.excepthook = sys.excepthook, _show


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    cause: object = error  # Pyramid wraps an error of an action
    while isinstance(cause, ConfigurationExecutionError):
        cause = cause.evalue
    if isinstance(cause, StartUpError):
        sys.stderr.write(f"{cause}\n")
    else:
        _before(kind, error, traceback)
