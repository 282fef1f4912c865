"""Errors at start-up: Python prints only their text, without a traceback.

``pserve`` does not catch the errors of an application, so Python would print a long traceback
before the text that the operator needs. This module changes Python's hook for uncaught exceptions
(``sys.excepthook``). The hook only changes how a :class:`StartUpError` is printed. Code that
catches the error, such as gunicorn or a test, gets an ordinary exception.

This module imports no other module of authapp, so every room may import it.
"""

import sys
from types import TracebackType

from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError


class StartUpError(ConfigurationError):
    """The application or the server cannot start. Each line of the error's text is one problem."""


class CannotListen(StartUpError, OSError):
    """The server cannot listen on its address, for example because another program uses it."""

    def __str__(self) -> str:
        return str(self.strerror)


class OptionError(StartUpError, ValueError):
    """An option of the server is not known, or its value is not allowed."""


_before = sys.excepthook


def show_without_traceback() -> None:
    """From now on, print only the text of an uncaught :class:`StartUpError`, and no traceback."""
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
