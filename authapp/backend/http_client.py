"""The HTTP client for the backend: each answer has one deadline, and users share no state.

In requests, the read timeout bounds each read from the socket. A server that sends one byte a
second could block a thread for ever. Here the read timeout bounds the whole answer, headers and
body.
"""

import io
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import IO, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

POOL_SIZE = 32
"""How many connections to one backend are kept open. Further ones are closed after use."""

_NO_TIMEOUT = 3600
"""Seconds for the whole answer if a request has no read timeout: ``timeout=(…, None)``."""


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, which all reads share.

    :param sock: its timeout says how far away the deadline is.
    :param file: the file of the socket. It keeps the connection open until it is closed.
    """

    def __init__(self, sock: socket.socket, file: IO[bytes]) -> None:
        self._sock = sock
        self._file = file
        self.deadline = time.monotonic() + (sock.gettimeout() or _NO_TIMEOUT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    """An answer with one deadline for all of it, from the status line to the last byte."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.reader = _DeadlineReader(sock, self.fp)
        self.fp = io.BufferedReader(self.reader)


def hurry(response: requests.Response, seconds: float) -> None:
    """Shorten the deadline of an answer.

    :param seconds: the answer must be complete so many seconds from now. An earlier deadline stays.
    """
    original = response.raw._original_response  # private, but requests uses it too
    if isinstance(original, _DeadlineResponse):  # an answer of the embedded issuer is not
        original.reader.deadline = min(original.reader.deadline, time.monotonic() + seconds)


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse


class _SecureConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class BoundedAdapter(HTTPAdapter):
    """A transport adapter for requests that sets a deadline for each answer, and never retries.

    :param timeout: seconds to connect, and again to read the whole answer. A request may bring a
        timeout of its own.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See ``requests.adapters.HTTPAdapter``. Use the pools of this module."""
        super().init_poolmanager(*args, **options)
        pools = {"http": _Pool, "https": _SecurePool}
        self.poolmanager.pool_classes_by_scheme = pools

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See ``requests.adapters.HTTPAdapter``."""
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        return super().send(request, **options)


class BoundedSession(requests.Session):
    """A session of requests for all threads and all users. Each answer has one deadline.

    It does without three features of requests:

    - Cookies: one user's cookies would be sent with another user's call.
    - Redirects: the password would be sent to another origin.
    - Settings from the environment: proxies and ``~/.netrc``.

    :param timeout: see :class:`BoundedAdapter`.
    :param authorities: a file with the certificates (PEM) of the authorities to trust, instead of
        the well-known ones.
    """

    def __init__(self, timeout: float, authorities: str | None = None) -> None:
        super().__init__()
        self.timeout = timeout
        self.trust_env = False
        self.verify = authorities or True
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", BoundedAdapter(timeout))
        self.mount("http://", BoundedAdapter(timeout))

    def resolve_redirects(self, *args: Any, **options: Any) -> Iterator[requests.Response]:
        """Follow no redirect, even if the caller asks for it, as ``get()`` does."""
        return iter(())
