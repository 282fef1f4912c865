"""One request to the backend, and the errors that mean "no usable response"."""

import re
import ssl
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, InvalidHeader, NewConnectionError
from urllib3.util import Retry

from authapp.backend.expressions import Response, read_response
from authapp.backend.protocol import (
    BackendDown,
    BackendThrottled,
    BackendUnavailable,
    ConnectionFailed,
    NoResponse,
)
from authapp.backend.repeated_secrets import printable, repeats

MAX_RESPONSE = 256 * 1024
"""The largest response body that is accepted, in bytes."""

MAX_RETRY_AFTER = 300
"""The longest time in seconds for which a ``Retry-After`` stops calls of the backend. A longer
``Retry-After`` is reduced to this value."""

MAX_WAIT = 86_400
"""The longest ``Retry-After`` in seconds that a user is told."""

_PARSER = Retry()
_PARSER.retry_after_max = MAX_WAIT  # newer versions of urllib3 have a limit of six hours

_NETWORK_ERRORS = (OSError, HTTPError, HTTPException)
"""The types of exceptions that a failed request can raise. If the chain of causes contains an
exception of another type, the chain is read only up to there: other code has raised that one."""

_MAX_CAUSES = 8
"""How many causes of an exception are followed. Exceptions can be chained in a circle."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}

_MAX_SHOWN = 100
_MAX_SEARCHED = 300
_TOKEN_LIKE = re.compile(
    r"(?:[A-Za-z0-9_+/=-]{24,}|(?=[A-Za-z_+/=-]*[0-9])[A-Za-z0-9_+/=-]{16,})(?:\.[A-Za-z0-9_-]+)*"
)


@dataclass(frozen=True)
class Reply:
    """A response, and what the log may show of it."""

    status: int
    content: Response
    where: str
    content_type: str
    wait: float | None
    """The seconds of ``Retry-After`` (at most :data:`MAX_WAIT`), to tell the user."""

    @property
    def retry_after(self) -> float | None:
        """The seconds of ``Retry-After`` (at most :data:`MAX_RETRY_AFTER`), to stop calls."""
        return None if self.wait is None else min(self.wait, MAX_RETRY_AFTER)

    @property
    def good(self) -> bool:
        """True if the status is 2xx."""
        return 200 <= self.status < 300


def exchange(
    session: requests.Session, method: str, url: str, *, shown: str = "", **options: Any
) -> Reply:
    """Send one request and read its response.

    :param shown: the path to show in errors, if the path in ``url`` may contain a secret value.
    :param options: further parameters of ``requests.request``.
    :raises BackendUnavailable: if there is no response, or its body cannot be read.
    """
    headers = {**_HEADERS, **options.pop("headers", {})}
    where = (shown and f"{shown} at {urlsplit(url).netloc.rpartition('@')[2]}") or address(url)
    try:
        with session.request(
            method, url, headers=headers, stream=True, allow_redirects=False, **options
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise BackendUnavailable("a compressed response, which was not requested")
            body = response.raw.read(MAX_RESPONSE + 1, decode_content=False)
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        raise unreachable(error, where) from None
    if len(body) > MAX_RESPONSE:
        raise BackendUnavailable(f"a response of more than {MAX_RESPONSE} bytes")
    set_cookies = response.raw.headers.getlist("Set-Cookie")
    return Reply(
        response.status_code,
        read_response(response.status_code, response.headers, set_cookies, body),
        where,
        in_one_line(response.headers.get("Content-Type", "no content type").partition(";")[0]),
        _retry_after(response.headers.get("Retry-After")),
    )


def fetch_object(session: requests.Session, url: str) -> dict[str, Any]:
    """Fetch a JSON object, such as a key set.

    :raises BackendUnavailable: if the response is not 2xx with a JSON object.
    """
    reply = exchange(session, "GET", url)
    body = reply.content["body"]
    if not reply.good or not isinstance(body, dict):
        raise unusable(reply)
    return body


def unusable(reply: Reply) -> BackendUnavailable:
    """Return the error for a response that does not say whether a user or token is good."""
    kind = "JSON" if isinstance(reply.content["body"], dict) else "not a JSON object"
    kinds: dict[int, type[BackendUnavailable]] = {429: BackendThrottled}
    kinds |= dict.fromkeys((502, 503, 504), BackendDown)
    text = f"status {reply.status}, {kind}, from {reply.where}"
    return kinds.get(reply.status, BackendUnavailable)(text, reply.retry_after)


def unreachable(error: Exception, where: str) -> BackendDown:
    """Return the error for a request that failed. The text of the error contains no secret.

    :param where: the part of the URL to show: see :func:`address`.
    """
    kind = ConnectionFailed if _no_connection(error) else NoResponse
    return kind(f"{_error_kind(error)} at {where}")


def _no_connection(error: Exception) -> bool:
    """Return True if no connection was made at all: refused, no such host, TLS error.

    If a connection was made and closed later, only the request that was sent through it has failed.
    """
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.SSLError) or isinstance(reason, NewConnectionError)


def _error_kind(error: BaseException) -> str:
    """Return the name of the class of an error, for the log.

    For a connection error, the class of its first cause is added. For a certificate that is not
    trusted, the reason is added. No other text of an error is returned, because it may contain the
    URL or the body of a request.
    """
    names, cause = [type(error).__name__], error
    for _ in range(_MAX_CAUSES):
        earlier = cause.__cause__ or cause.__context__
        if not isinstance(earlier, _NETWORK_ERRORS):
            break
        cause = earlier
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{names[0]} ({cause.verify_message})"
    if isinstance(error, requests.ConnectionError):
        names.append(f"({type(cause).__name__})")  # tells a refused connection from an unknown host
    return " ".join(names)


def address(url: str) -> str:
    """Return the host and the path of a URL, without a password or a query."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def in_one_line(value: object, *secrets: str | None) -> str:
    """Return text from the backend for the log: one line, shortened, without secrets.

    :param secrets: the secrets in the request. If the text contains a part of a secret, in any
        usual encoding, a fixed sentence is returned instead.
    :returns: the line. An empty string if ``value`` is neither a string nor an integer.
    """
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return ""
    text = value[:_MAX_SEARCHED]
    sent = [secret for secret in secrets if secret]
    if sent and repeats(text, sent):
        return "(not shown: it repeats what was sent)"
    return " ".join(_TOKEN_LIKE.sub("***", printable(text)).split())[:_MAX_SHOWN]


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110 section 10.2.3).

    :returns: at most :data:`MAX_WAIT`. None if there is no header, or it is not valid.
    """
    try:
        return None if value is None else min(_PARSER.parse_retry_after(value), MAX_WAIT)
    except (InvalidHeader, ValueError, OverflowError):
        return None
