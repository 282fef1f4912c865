"""HTTP to the backend: bounded in time, kept to itself.

A timeout of requests is per read, so a server that drips one byte a second holds a thread
for ever. Here the read timeout bounds the whole answer, headers and body.
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
"""Connections kept open to one backend; more threads than that open their own."""

_NO_TIMEOUT = 3600
"""Seconds for the answer to a request that was sent with ``timeout=(…, None)``."""


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, however often it is called.

    :param file: the socket's own file, which holds the connection open until it is closed.
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
    """An answer whose reading, from the status line to the last byte, has one deadline."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.reader = _DeadlineReader(sock, self.fp)
        self.fp = io.BufferedReader(self.reader)


def hurry(response: requests.Response, seconds: float) -> None:
    """Give the body of an answer so many seconds from now on, if it has more."""
    original = response.raw._original_response  # as requests takes it, for its cookies
    if isinstance(original, _DeadlineResponse):  # not the embedded issuer's
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
    """An adapter of requests that never retries and bounds every answer in time.

    :param timeout: seconds to connect, and again to read the whole answer, for requests
        that name no timeout of their own.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See requests. The pools are ours."""
        super().init_poolmanager(*args, **options)
        pools = {"http": _Pool, "https": _SecurePool}
        self.poolmanager.pool_classes_by_scheme = pools

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See requests."""
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        return super().send(request, **options)


class BoundedSession(requests.Session):
    """A session of requests that keeps nothing and follows nobody.

    No cookies (those of one user would go along with another's call), no redirects (the
    password would be posted to another origin), and no proxies or ``~/.netrc`` from the
    environment. It is shared by all threads.

    :param timeout: as :class:`BoundedAdapter` takes it.
    :param authorities: a file of certificates (PEM) to trust instead of the well-known ones.
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
        """See requests, whose ``get()`` would ask to follow them. None is followed."""
        return iter(())
