"""Helps to test an application with authapp: signs users in without a backend and without a form.

- :func:`sign_in` signs in a WebTest application, a Playwright context, a ``requests`` session or a
  ``DummyRequest`` as any user, in any phase. The client gets a cookie that the application accepts.
- :class:`MemoryBackend` is a backend in memory. A test can make its verbs fail or be slow.
  :func:`use_backend` makes an existing application use this backend.
- :func:`assert_session` and :func:`assert_no_session` check the session of a client. If a check
  fails, the error describes the session.

There are also pytest fixtures: :mod:`authapp.testing.plugin`.

No other module of authapp imports this package, and no setting loads it.
"""

from authapp.testing.assertions import assert_no_session, assert_session, describe
from authapp.testing.clients import playwright_cookies, session_of, sign_in
from authapp.testing.memory_backend import MemoryBackend
from authapp.testing.sessions import make_session, use_api, use_backend

__all__ = [
    "MemoryBackend",
    "assert_no_session",
    "assert_session",
    "describe",
    "make_session",
    "playwright_cookies",
    "session_of",
    "sign_in",
    "use_api",
    "use_backend",
]
