"""A backend that is called over HTTP. A wire format says how each verb becomes a request."""

import json
import re
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from authapp.backend.http_client import BoundedSession, hurry
from authapp.backend.presets import Wire
from authapp.backend.protocol import (
    LATE,
    BackendDown,
    BackendRejected,
    BackendThrottled,
    BackendUnavailable,
    Credentials,
)
from authapp.session.session import MAX_LIFETIME, TokenPair

MAX_ANSWER = 256 * 1024
"""Bytes of the largest answer that is accepted."""

MAX_TOKEN = 8 * 1024
"""Characters of the longest token that is accepted. All tokens of a session must fit into three
cookies."""

MAX_RETRY_AFTER = 300
"""Seconds of the longest ``Retry-After`` that is honoured. A longer one counts as this."""

_NETWORK_ERRORS = (OSError, HTTPError, HTTPException)
"""The kinds of exceptions that can be the cause of a failed request. Any other exception in the
chain was being handled before the request, and did not cause the failure."""

_MAX_CAUSES = 8
"""How many causes of an exception are followed. Exceptions can be chained in a circle."""

_TOKEN = re.compile(rf"\A[!-~]{{1,{MAX_TOKEN}}}\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_GATEWAY = re.compile(r"(?:^|,)\s*(?:basic|digest|kerberos|negotiate|ntlm)\b", re.IGNORECASE)
"""Authentication schemes of a gateway in front of the backend. Its 401 says nothing of our user."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class HTTPBackend:
    """A :class:`~authapp.backend.protocol.Backend` that is called over HTTP.

    :param session: sends the requests, and bounds how long each may take.
    :param url: the base URL, without a slash at the end.
    :param wire: the wire format.
    """

    def __init__(self, session: BoundedSession, url: str, wire: Wire) -> None:
        self._session = session
        self._url = url
        self._wire = wire

    def login(self, credentials: Credentials) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`."""
        wire = self._wire
        fields = {
            wire.username_field: credentials.username,
            wire.password_field: credentials.password,
            **wire.login_extra,
        }
        if wire.scope is not None:
            fields["scope"] = wire.scope
        answer = self._post(wire.login_path, fields)
        return self._token_pair(answer, self._token(answer, wire.refresh_field))

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`.

        A backend that hangs may still spend the token later. If nothing read its answer then, the
        new token would be lost. So the call runs in a thread of its own, which awaits a late
        response for :data:`LATE` seconds.
        """
        answer: Future[TokenPair] = Future()

        def call() -> None:
            try:
                answer.set_result(self._refresh(tokens))
            except Exception as error:
                answer.set_exception(error)

        # Not a daemon thread: a process that stops must wait for the new token.
        threading.Thread(target=call, daemon=False).start()
        try:
            return answer.result(self._session.timeout)
        except FutureTimeout:
            where = _address(self._url + self._wire.refresh_path)
            raise BackendDown(f"ReadTimeout at {where}", late=answer) from None

    def _refresh(self, tokens: TokenPair) -> TokenPair:
        wire, timeout = self._wire, self._session.timeout
        fields = {wire.refresh_request_field: tokens.refresh, **wire.refresh_extra}
        # Only a response that has not begun may be late. Its body must come within the timeout.
        hooks = {"response": lambda response, **options: hurry(response, timeout)}
        answer = self._post(wire.refresh_path, fields, timeout=(timeout, LATE), hooks=hooks)
        # A backend that does not rotate refresh tokens need not return one.
        kept = answer.get(wire.refresh_field) is None
        return self._token_pair(
            answer, tokens.refresh if kept else self._token(answer, wire.refresh_field)
        )

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
        wire = self._wire
        fields = {wire.logout_field: tokens.refresh, **wire.logout_extra}
        self._post(wire.logout_path, fields, False)

    def reach(self) -> None:
        """Check whether the backend is up: any answer will do except a server error (5xx).

        :raises BackendUnavailable: if the backend is down.
        """
        response, _ = _exchange(self._session, "GET", self._url + "/")
        if response.status_code >= 500:
            raise BackendDown(f"status {response.status_code}")

    def _post(
        self, path: str, fields: Mapping[str, str], needs_object: bool = True, **options: Any
    ) -> dict[str, Any]:
        """Post fields to a path of the backend.

        :param needs_object: whether an answer without a JSON object is an error.
        :param options: as ``requests.request`` takes them.
        :returns: the JSON object in the answer; empty if there is none.
        :raises BackendRejected: if the backend rejects the token, or the password.
        :raises BackendUnavailable: if there is no usable answer.
        """
        wire = self._wire
        if wire.client_id is not None and wire.client_secret is not None:
            # RFC 6749 section 2.3.1: both are form-encoded before they are sent as Basic.
            options["auth"] = (quote(wire.client_id, ""), quote(wire.client_secret, ""))
        elif wire.client_id is not None:
            fields = {**fields, "client_id": wire.client_id}
        options["data" if wire.form else "json"] = fields
        response, answer = _exchange(self._session, "POST", self._url + path, **options)
        if _good(response) and (answer is not None or not needs_object):
            return answer or {}
        rejected = (
            response.status_code in (400, 401, 403)
            and answer is not None
            and not _GATEWAY.search(_QUOTED.sub("", response.headers.get("WWW-Authenticate", "")))
            and answer.get("error") not in wire.not_about_the_token
        )
        if rejected:
            raise BackendRejected(f"status {response.status_code}")
        raise _unusable(response, answer)

    def _token_pair(self, answer: Mapping[str, Any], refresh: str) -> TokenPair:
        return TokenPair(
            self._token(answer, self._wire.access_field),
            refresh,
            _seconds(answer.get(self._wire.expires_field)),
            _seconds(answer.get(self._wire.refresh_expires_field)),
        )

    @staticmethod
    def _token(answer: Mapping[str, Any], name: str) -> str:
        """The token in a field of an answer.

        :raises BackendUnavailable: if it is missing, or cannot be sent in a header.
        """
        token = answer.get(name)
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise BackendUnavailable(f"no usable {name} in the answer")
        return token


def fetch_object(session: requests.Session, url: str) -> dict[str, Any]:
    """Fetch a JSON object, such as a key set.

    :raises BackendUnavailable: if the answer is not 2xx with a JSON object.
    """
    response, answer = _exchange(session, "GET", url)
    if not _good(response) or answer is None:
        raise _unusable(response, answer)
    return answer


def _exchange(
    session: requests.Session, method: str, url: str, **options: Any
) -> tuple[requests.Response, dict[str, Any] | None]:
    """Send one request.

    :returns: the response, and the JSON object in its body or None.
    :raises BackendUnavailable: if there is no answer, or its body cannot be read.
    """
    try:
        with session.request(
            method, url, headers=_HEADERS, stream=True, allow_redirects=False, **options
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise BackendUnavailable("a compressed answer, which was not requested")
            body = response.raw.read(MAX_ANSWER + 1, decode_content=False)
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        raise unreachable(error, url) from None
    if len(body) > MAX_ANSWER:
        raise BackendUnavailable(f"an answer of more than {MAX_ANSWER} bytes")
    return response, _json_object(body)


def unreachable(error: Exception, url: str) -> BackendDown:
    """The error to raise if a request to a URL has failed. Its text holds no secret."""
    return BackendDown(f"{_error_kind(error)} at {_address(url)}")


def _error_kind(error: BaseException) -> str:
    """The class of an error, and of its root cause if no connection was made.

    For a certificate that is not trusted, the reason.

    The texts of errors are left out, as they may hold the URL or the body of a request.
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


def _address(url: str) -> str:
    """The host and the path of a URL, without a password or a query."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _good(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


def _unusable(response: requests.Response, answer: object) -> BackendUnavailable:
    """The error to raise for an answer that says nothing of the user."""
    kind = "not a JSON object" if answer is None else "JSON"
    kinds: dict[int, type[BackendUnavailable]] = {429: BackendThrottled}
    kinds |= dict.fromkeys((502, 503, 504), BackendDown)
    return kinds.get(response.status_code, BackendUnavailable)(
        f"status {response.status_code}, {kind}, from {_address(response.url)}",
        _retry_after(response.headers.get("Retry-After")),
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body (UTF-8, RFC 8259). None if the body is anything else."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(value: object) -> int | None:
    """A lifetime in seconds. None if the value is not a usable lifetime."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MAX_LIFETIME else None


def _retry_after(value: str | None) -> float | None:
    """The seconds to wait, from a ``Retry-After`` header (RFC 9110 section 10.2.3)."""
    try:
        return None if value is None else min(Retry().parse_retry_after(value), MAX_RETRY_AFTER)
    except (InvalidHeader, ValueError, OverflowError):
        return None
