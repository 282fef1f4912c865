"""One API behind the proxy. This module sends requests to the API, and streams the bodies.

Each single wait is bounded: for a slot, for the connection, for all headers of the response, and
for each part of a body. A wait for the API ends early if the client closes its connection. The time
of the whole exchange is not bounded, because a large file may take long.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.util import SKIP_HEADER, Timeout
from waitress.channel import ClientDisconnected

from authapp.backend.cancellation import Cancellation, with_cancellation
from authapp.backend.http_client import POOLS, extend
from authapp.edge.bulkhead import ProxyBulkhead, ProxyBulkheadFull
from authapp.edge.returned_headers import fault
from authapp.request_log import request_log

log = request_log(__name__)

PIECE = 65_536
"""The most bytes of a body that are in memory at a time."""

CONNECTIONS = 32
"""The most connections to one API that stay open."""

LOOK_AGAIN = 0.5
"""Seconds between two checks whether the client has closed its connection."""

_RETRIED = ("GET", "HEAD", "OPTIONS")


class UpstreamAway(Exception):
    """The API gave no response, or the request could not be sent.

    The text says why, without secrets.
    """


class ClientGone(ClientDisconnected):  # type: ignore[misc]
    """The client has closed its connection, so nobody waits for the response of the API.

    waitress logs an exception of this kind at level INFO, without a traceback.
    """


class UpstreamBroken(Exception):
    """The API stopped in the middle of a response. The server then closes the connection."""


class RequestBody:
    """The body of a request, as the client sends it.

    :param stream: ``wsgi.input``.
    :param length: the length in bytes.
    """

    def __init__(self, stream: IO[bytes], length: int) -> None:
        self._stream = stream
        self._length = self._left = length

    def read(self, size: int = PIECE) -> bytes:
        """Read the next part, at most ``size`` bytes. The part is empty at the end of the body."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data

    def rewind(self) -> bool:
        """Return to the beginning of the body.

        :returns: True if this was possible.
        """
        try:
            self._stream.seek(0)
        except (AttributeError, OSError, io.UnsupportedOperation):
            return False
        self._left = self._length
        return True


class _WhileClientWaits(Cancellation):
    """Cancels a call of the API if the client of this site no longer waits.

    :param is_gone: returns True if the client has closed its connection.
    """

    def __init__(self, is_gone: Callable[[], bool]) -> None:
        self._is_gone = is_gone

    def check(self) -> float:
        if self._is_gone():
            raise ClientGone
        return LOOK_AGAIN


class Answer:
    """A response of the API. Until it is closed, it occupies one slot of the proxy.

    The server uses this object as a WSGI application iterator. The server closes it after the last
    part, and also if the client closes the connection.
    """

    def __init__(
        self, response: urllib3.BaseHTTPResponse, timeout: float, release: Callable[[], None]
    ) -> None:
        self.status = response.status
        self.headers = list(response.headers.items())
        self._response = response
        self._timeout = timeout
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        """Read the body, part by part, as it arrives.

        :raises UpstreamBroken: if the API stops in the middle.
        :raises ClientGone: if the client closes its connection while the API sends nothing.
        """
        try:
            while data := self._part():
                yield data
        except (HTTPError, OSError) as error:
            raise UpstreamBroken(type(error).__name__) from None
        finally:
            self.close()

    def _part(self) -> bytes:
        """Read the next part of the body. The part is empty at the end of the body."""
        extend(self._response, self._timeout)
        return self._response.read1(PIECE, decode_content=False)

    def close(self) -> None:
        """Release the slot and the connection. The rest of the body is not read."""
        self._response.close()
        self._release()

    def __del__(self) -> None:
        """Close a response that the server has not closed.

        This happens if a tween fails or returns another response, or if the server refuses one of
        the headers.
        """
        self.close()


class Upstream:
    """One API behind the proxy. Each process has its own object, with its own slots.

    :param url: the base URL.
    :param timeout: the longest time in seconds for each single wait: for a slot, for the
        connection, for the headers of the response, and for each part of a body.
    :param slots: how many requests this process passes on at the same time.
    :param authorities: the path of a PEM file with the certificate authorities to trust. None: the
        authorities that ``requests`` trusts.
    """

    def __init__(self, url: str, timeout: float, slots: int, authorities: str | None) -> None:
        self.url = url
        self._path = urlsplit(url).path
        self._timeout = Timeout(connect=timeout, read=timeout)
        self._seconds = timeout
        self._slots = ProxyBulkhead(slots)
        manager = urllib3.PoolManager(
            maxsize=CONNECTIONS, ca_certs=authorities or DEFAULT_CA_BUNDLE_PATH
        )
        manager.pool_classes_by_scheme = POOLS
        self._pool = manager.connection_from_url(url)

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: RequestBody | None,
        is_gone: Callable[[], bool],
    ) -> Answer:
        """Send a request and return the response as soon as its headers have arrived.

        :param path: the encoded path below the base URL, with the query.
        :param body: the body. None: the request has no body.
        :param is_gone: returns True if the client has closed its connection.
        :raises UpstreamAway: if the API does not respond, if its response is not valid HTTP, or if
            all slots are taken.
        :raises ClientGone: if the client closes its connection before the API responds.
        :raises ValueError: if a header cannot be sent.
        """
        try:
            release = self._slots.take(self._seconds)
        except ProxyBulkheadFull:
            raise UpstreamAway("all slots of the proxy are taken") from None
        try:
            with with_cancellation(_WhileClientWaits(is_gone)):
                response = self._exchange(method, self._path + path, headers, body)
            answer = Answer(response, self._seconds, release)
            if problem := fault(answer.status, answer.headers):
                raise UpstreamAway(f"{problem}, from {urlsplit(self.url).netloc}")
            return answer
        except (HTTPError, OSError) as error:
            release()
            raise UpstreamAway(f"{type(error).__name__} at {urlsplit(self.url).netloc}") from None
        except BaseException:
            release()
            raise

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: RequestBody | None
    ) -> urllib3.BaseHTTPResponse:
        """Send the request. Repeat it once if the API closes the connection without a response.

        Only a GET, HEAD or OPTIONS without a body is repeated. The API may have closed the
        connection while the connection was idle.
        """
        options: dict[str, Any] = {
            "body": body,
            "headers": {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER, **headers},
            "timeout": self._timeout,
            "preload_content": False,
            "decode_content": False,
            "redirect": False,
            "retries": False,
            "assert_same_host": False,
        }
        try:
            return self._pool.urlopen(method, path, **options)
        except ProtocolError as error:
            closed = isinstance(error.args[-1], ConnectionError)
            if not closed or method not in _RETRIED or body is not None:
                raise
            return self._pool.urlopen(method, path, **options)
