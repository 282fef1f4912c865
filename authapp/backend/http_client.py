"""The HTTP client for the backend: each response has one deadline, and users share no state.

The read timeout of ``requests`` limits each single read from the socket. A server that sends one
byte per second could block a thread forever. In this client, the read timeout limits the whole
response, headers and body.

The deadline does not limit the time to parse headers, and Python accepts a hundred headers of up to
64 KiB each. So this client reads at most :data:`MAX_HEAD` bytes before the body. It also reads at
most :data:`MAX_HEAD` bytes after the body, because a server could send trailers without end.

A call may be cancelled before its deadline (:mod:`authapp.backend.cancellation`).
"""

import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import IO, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from authapp.backend.cancellation import current_cancellation

POOL_SIZE = 32
"""How many connections to one backend are kept open after use. Further ones are closed."""

MAX_HEAD = 64 * 1024
"""The largest head of a response that is accepted, in bytes: its status lines and headers. The
trailers have the same limit."""

_NO_TIMEOUT = 3600
"""Seconds for the whole response if a request has no read timeout: ``timeout=(…, None)``."""


class HeadTooLarge(HTTPException):
    """The head of a response, or its trailers, are larger than :data:`MAX_HEAD`."""


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, which all reads share.

    Its attribute ``left`` is how many more bytes it accepts.

    :param sock: the socket. Its timeout sets the deadline: so many seconds from now.
    :param file: the file of the socket. The connection stays open until the file is closed.
    """

    def __init__(self, sock: socket.socket, file: IO[bytes]) -> None:
        self._sock = sock
        self._file = file
        self._cancellation = current_cancellation()
        self.left = math.inf
        self.deadline = time.monotonic() + (sock.gettimeout() or _NO_TIMEOUT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while (left := self.deadline - time.monotonic()) > 0:
            self._sock.settimeout(min(left, self._cancellation.check()))
            with suppress(TimeoutError):
                size = self._sock.recv_into(buffer)
                self.left -= size
                if self.left < 0:
                    raise HeadTooLarge
                return size
        raise TimeoutError("the response took too long")

    def close(self) -> None:
        self._file.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    """A response with one deadline, from the status line to the last byte, and a bounded head."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.reader = _DeadlineReader(sock, self.fp)
        self.fp = io.BufferedReader(self.reader)

    def begin(self) -> None:
        """See ``http.client.HTTPResponse``. This method reads the response up to its body."""
        self.reader.left = MAX_HEAD
        super().begin()
        self.reader.left = math.inf

    def _read_and_discard_trailer(self) -> None:
        self.reader.left = MAX_HEAD
        super()._read_and_discard_trailer()  # type: ignore[misc]


def extend(response: urllib3.BaseHTTPResponse, seconds: float) -> None:
    """Give a response a new deadline.

    :param response: a response of one of the :data:`POOLS`.
    :param seconds: the new deadline is this many seconds from now.
    """
    original = response._original_response  # type: ignore[attr-defined]
    original.reader.deadline = time.monotonic() + seconds


def hurry(response: requests.Response, seconds: float) -> None:
    """Shorten the deadline of a response.

    :param seconds: the new deadline is this many seconds from now. If the present deadline is
        earlier, the present deadline is kept.
    """
    original = response.raw._original_response  # private, but requests uses it too
    if isinstance(original, _DeadlineResponse):  # responses of the embedded issuer have no deadline
        original.reader.deadline = min(original.reader.deadline, time.monotonic() + seconds)


def _fulfil(future: "Future[None]", call: Callable[[], None]) -> None:
    try:
        call()
        future.set_result(None)
    except Exception as error:
        future.set_exception(error)


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse

    def connect(self) -> None:
        """Connect. If the call can be cancelled, another thread connects."""
        connect, cancellation = super().connect, current_cancellation()
        if cancellation.check() == math.inf:
            connect()
            return
        connected: Future[None] = Future()
        threading.Thread(target=_fulfil, args=(connected, connect), daemon=True).start()
        try:
            while not wait_for([connected], cancellation.check()).done:
                pass
        except BaseException:  # the call was cancelled
            connected.add_done_callback(lambda _: self.close())
            raise
        connected.result()


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}
"""The connection pools whose responses have a deadline, for ``urllib3.PoolManager``."""


class BoundedAdapter(HTTPAdapter):
    """A transport adapter for ``requests``. It sets a deadline for each response and never retries.

    :param timeout: seconds to connect, and again to read the whole response. A request can override
        this timeout.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See ``requests.adapters.HTTPAdapter``. This method uses the pools of this module."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See ``requests.adapters.HTTPAdapter``."""
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        return super().send(request, **options)


class BoundedSession(requests.Session):
    """A ``requests`` session for all threads and all users. Each response has one deadline.

    Three features of ``requests`` are disabled:

    - Cookies, because one user's cookies would be sent with another user's request.
    - Redirects, because a password could be sent to another origin.
    - Settings from the environment, which are proxies and ``~/.netrc``.

    :param timeout: seconds to connect, and again to read the whole response.
    :param authorities: the path of a PEM file with the certificate authorities to trust. If None,
        the well-known authorities are trusted.
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
        """Follow no redirects, even if the caller (such as ``requests.get()``) asks for them."""
        return iter(())
