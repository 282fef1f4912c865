"""A backend reached over HTTP: the three verbs in the words of a wire format."""

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
"""Bytes of the largest answer that is read."""

MAX_TOKEN = 8 * 1024
"""Characters of the longest token: with others it has to fit into three cookies."""

MAX_RETRY_AFTER = 300
"""Seconds for which a backend can ask to be left alone."""

_OF_THE_NETWORK = (OSError, HTTPError, HTTPException)
"""Kinds of failures that say what a failed request came of; others are what a caller handles."""

_DEEPEST = 8
"""How far that is successor: exceptions can be chained in a circle."""

_TOKEN = re.compile(rf"\A[!-~]{{1,{MAX_TOKEN}}}\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_GATEWAY = re.compile(r"(?:^|,)\s*(?:basic|digest|kerberos|negotiate|ntlm)\b", re.IGNORECASE)
"""Challenges of something in front of the backend, which says nothing of its users."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class HTTPBackend:
    """Speaks a :class:`~authapp.backend.presets.Wire` to the backend at ``url``.

    :param session: bounds the time of every exchange.
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
        answer = self._ask(wire.login_path, fields)
        return self._tokens(answer, self._text(answer, wire.refresh_field))

    def refresh(self, tokens: TokenPair) -> TokenPair:
        """See :class:`authapp.backend.protocol.Backend`.

        A backend that hangs may spend the token in the end: hanging up would lose what it
        gives for it. So a thread of its own goes on to listen for :data:`LATE` seconds.
        """
        answer: Future[TokenPair] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._refresh(tokens))
            except Exception as error:
                answer.set_exception(error)

        # Not as a daemon: a process that is told to stop waits for what the token was spent for.
        threading.Thread(target=ask, daemon=False).start()
        try:
            return answer.result(self._session.timeout)
        except FutureTimeout:
            where = _address(self._url + self._wire.refresh_path)
            raise BackendDown(f"ReadTimeout at {where}", late=answer) from None

    def _refresh(self, tokens: TokenPair) -> TokenPair:
        wire, timeout = self._wire, self._session.timeout
        fields = {wire.refresh_request_field: tokens.refresh, **wire.refresh_extra}
        # What has begun and does not come to an end is no hang, but broken.
        hooks = {"response": lambda response, **options: hurry(response, timeout)}
        answer = self._ask(wire.refresh_path, fields, timeout=(timeout, LATE), hooks=hooks)
        # A backend that does not rotate need not send the refresh token again.
        kept = answer.get(wire.refresh_field) is None
        return self._tokens(
            answer, tokens.refresh if kept else self._text(answer, wire.refresh_field)
        )

    def logout(self, tokens: TokenPair) -> None:
        """See :class:`authapp.backend.protocol.Backend`."""
        wire = self._wire
        self._ask(wire.logout_path, {wire.logout_field: tokens.refresh, **wire.logout_extra}, False)

    def reach(self) -> None:
        """Ask for anything at all: an answer says that it lives, unless it is an excuse (5xx).

        :raises BackendUnavailable: when there is none.
        """
        response, _ = _exchange(self._session, "GET", self._url + "/")
        if response.status_code >= 500:
            raise BackendDown(f"status {response.status_code}")

    def _ask(
        self, path: str, fields: Mapping[str, str], answers: bool = True, **options: Any
    ) -> dict[str, Any]:
        """Post fields and return the object that comes back.

        :param answers: whether the answer must be a JSON object to be a good one.
        :param options: as requests takes them.
        """
        wire = self._wire
        if wire.client_id is not None and wire.client_secret is not None:
            # RFC 6749 section 2.3.1: form-encoded first, then Basic.
            options["auth"] = (quote(wire.client_id, ""), quote(wire.client_secret, ""))
        elif wire.client_id is not None:
            fields = {**fields, "client_id": wire.client_id}
        options["data" if wire.form else "json"] = fields
        response, answer = _exchange(self._session, "POST", self._url + path, **options)
        if _good(response) and (answer is not None or not answers):
            return answer or {}
        about_the_token = (
            response.status_code in (400, 401, 403)
            and answer is not None
            and not _GATEWAY.search(_QUOTED.sub("", response.headers.get("WWW-Authenticate", "")))
            and answer.get("error") not in wire.not_about_the_token
        )
        if about_the_token:
            raise BackendRejected(f"status {response.status_code}")
        raise _unusable(response, answer)

    def _tokens(self, answer: Mapping[str, Any], refresh: str) -> TokenPair:
        return TokenPair(
            self._text(answer, self._wire.access_field),
            refresh,
            _seconds(answer.get(self._wire.expires_field)),
            _seconds(answer.get(self._wire.refresh_expires_field)),
        )

    @staticmethod
    def _text(answer: Mapping[str, Any], name: str) -> str:
        """A token out of an answer, fit to stand in a header."""
        token = answer.get(name)
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise BackendUnavailable(f"no usable {name} in the answer")
        return token


def fetch_object(session: requests.Session, url: str) -> dict[str, Any]:
    """The JSON object at a URL, such as a key set.

    :raises BackendUnavailable: when there is none.
    """
    response, answer = _exchange(session, "GET", url)
    if not _good(response) or answer is None:
        raise _unusable(response, answer)
    return answer


def _exchange(
    session: requests.Session, method: str, url: str, **options: Any
) -> tuple[requests.Response, dict[str, Any] | None]:
    """One request, and the JSON object in its answer where there is one."""
    try:
        with session.request(
            method, url, headers=_HEADERS, stream=True, allow_redirects=False, **options
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise BackendUnavailable("a compressed answer, which nobody asked for")
            body = response.raw.read(MAX_ANSWER + 1, decode_content=False)
    except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
        raise unreachable(error, url) from None
    if len(body) > MAX_ANSWER:
        raise BackendUnavailable(f"an answer of more than {MAX_ANSWER} bytes")
    return response, _json_object(body)


def unreachable(error: Exception, url: str) -> BackendDown:
    """What it means that a request to a URL has failed, in words without anything secret."""
    return BackendDown(f"{_kind(error)} at {_address(url)}")


def _kind(error: BaseException) -> str:
    """What went wrong: the kinds of error, as their texts can carry the URL or the body.

    Of a certificate, what is wrong with it.
    """
    names, cause = [type(error).__name__], error
    for _ in range(_DEEPEST):
        following = cause.__cause__ or cause.__context__
        if not isinstance(following, _OF_THE_NETWORK):
            break
        cause = following
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{names[0]} ({cause.verify_message})"
    if isinstance(error, requests.ConnectionError):
        names.append(f"({type(cause).__name__})")  # refused, or no such host
    return " ".join(names)


def _address(url: str) -> str:
    """Where an operator has to look: host and path."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _good(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


def _unusable(response: requests.Response, answer: object) -> BackendUnavailable:
    kind = "not a JSON object" if answer is None else "JSON"
    kinds: dict[int, type[BackendUnavailable]] = {429: BackendThrottled}
    kinds |= dict.fromkeys((502, 503, 504), BackendDown)
    return kinds.get(response.status_code, BackendUnavailable)(
        f"status {response.status_code}, {kind}, from {_address(response.url)}",
        _retry_after(response.headers.get("Retry-After")),
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    """A JSON object in UTF-8 (RFC 8259), or None for anything else."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(value: object) -> int | None:
    """A lifetime in seconds, or None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MAX_LIFETIME else None


def _retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After (RFC 9110 section 10.2.3), or until its date, bounded."""
    try:
        return None if value is None else min(Retry().parse_retry_after(value), MAX_RETRY_AFTER)
    except (InvalidHeader, ValueError, OverflowError):
        return None
