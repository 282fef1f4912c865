"""``request.backend``: an HTTP client with which a view calls the backend.

Each call contains the access token of the signed-in user.
"""

import re
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
from pyramid.request import Request
from requests.auth import AuthBase

from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import address, in_one_line, unreachable
from authapp.backend.protocol import BackendDown, CallNotPermitted, ConnectionFailed
from authapp.backend.request_template import Text
from authapp.request_log import request_log
from authapp.services import services_of
from authapp.session.session import Session
from authapp.web.cookie_writer import write_to_response
from authapp.web.request_session import RequestSession, renew_session
from authapp.web.user_token import authorization, has_dot_segment, is_refused, record_refused

log = request_log(__name__)

_DECODINGS = 3
"""The number of times that a path is percent-decoded in the search for ``.`` and ``..``. Each
server on the way to the backend may decode the path once."""


_READING = ("GET", "HEAD")
_BODIES = ("data", "files", "json")


class _UserToken(AuthBase):
    """Adds a header with the user's access token to an HTTP request, when ``requests`` sends it.

    The options of the call contain this object and not the token. So an error report that prints
    the options does not show the token.

    :param setting: the setting ``backend.authorization``, such as ``Bearer {access}``.
    """

    def __init__(self, session: Session, setting: Text) -> None:
        self._session = session
        self._setting = setting

    def __call__(self, call: requests.PreparedRequest) -> requests.PreparedRequest:
        # requests would refuse a token that no header can contain, and its error would show it.
        call.headers["Authorization"] = authorization(self._setting, self._session.tokens)
        return call


def address_below(base: str, url: str) -> str:
    """Return the full URL of a call of ``request.backend``.

    :param base: ``authapp.backend.url`` with a slash at the end.
    :param url: a path below the base, or a full URL below the base.
    :raises ValueError: if ``url`` is not below the base, or if a server might read it as a URL that
        is not below the base.
    """
    if url.startswith(("//", "/\\")) or re.search(r"[\x00-\x1f\x7f]", url):
        raise ValueError("request.backend can only call paths below authapp.backend.url")
    found, below = urlsplit(urljoin(base, url.lstrip("/"))), urlsplit(base)
    if found[:2] != below[:2]:
        raise ValueError("request.backend can call the origin of authapp.backend.url only")
    # urljoin has resolved the segments "." and "..". A server may also read "%2e%2e" and
    # "%252e%252e" (after a proxy has decoded it once) as "..".
    path = found.path
    for _ in range(_DECODINGS):
        path = unquote(path)
    if has_dot_segment(path) or not found.path.startswith(below.path):
        raise ValueError("request.backend can only call paths below authapp.backend.url")
    return found.geturl()


class BackendUnreachable(requests.ConnectionError, requests.Timeout):
    """The backend did not respond to a call of ``request.backend``, or the call was not sent.

    While the backend is down or slow, calls are not sent (circuit breaker, bulkhead). The text of
    the error gives the reason. If the view does not catch the error, authapp returns 503.
    """

    sent = True
    """False if the call was certainly not sent. If True, the backend may have carried it out."""


class BackendSession(BoundedSession):
    """A ``requests`` session for calls to the backend as the signed-in user.

    - The URL of a call must be below ``authapp.backend.url``.
    - A call contains the user's access token, unless it has the option ``auth``. If no user is
      signed in, a call contains no token.
    - If the backend responds with 401, the user's session is renewed, and the call is sent again
      with the new token. If the new token gets 401 too, a renewal does not help. Later calls with
      this token are then not repeated, even if they get 401.
    - If the body of a call comes from a file or an iterator, a 401 causes no renewal, because the
      body cannot be read twice.

    :param request: the Pyramid request, which has the user's session.
    """

    def __init__(self, request: Request) -> None:
        services = services_of(request)
        super().__init__(services.settings.backend_timeout, services.settings.backend_ca)
        self.adapters = services.http.adapters  # all requests share one connection pool
        self._request = request
        self._url = (services.backend_url or "") + "/"

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Send an HTTP request to the backend, with the user's access token.

        :param method: the HTTP method.
        :param url: a path below ``authapp.backend.url``, or a full URL below that URL.
        :param options: the other parameters of ``requests.Session.request``.
        :returns: the response, with any status code.
        :raises BackendUnreachable: if the backend does not respond. If the backend is known to be
            down, this error is raised at once.
        :raises ValueError: if ``url`` is not below ``authapp.backend.url``, if
            ``authapp.backend.url`` is not set, or if a header cannot contain the access token.
        """
        if self._url == "/":
            raise ValueError("request.backend needs authapp.backend.url in the ini file")
        url = address_below(self._url, url)
        ours: RequestSession = self._request.authapp
        session, response = self._send_as(ours, method, url, options)
        if session is None or not self._may_renew(session, response):
            return response
        renew_session(self._request, session, wait=True)
        write_to_response(self._request, ours)
        if ours.identity and ours.session is not session:
            response.close()
            renewed, response = self._send_as(ours, method, url, options)
            if renewed is not None and response.status_code == 401:
                record_refused(services_of(self._request).store, self._url, renewed)
        return response

    def _may_renew(self, session: Session, response: requests.Response) -> bool:
        """Return True if the response is a 401, and the call may succeed after a renewal.

        :param session: the session whose access token the call contained.
        """
        body = response.request.body
        return (
            response.status_code == 401
            and (body is None or isinstance(body, bytes | str))
            and not is_refused(services_of(self._request).store, self._url, session)
        )

    def _send_as(
        self, ours: RequestSession, method: str, url: str, options: dict[str, Any]
    ) -> tuple[Session | None, requests.Response]:
        """Send an HTTP request through the circuit breaker, with the user's access token.

        :returns: the session whose access token was sent (None if no token was sent), and the
            response.
        """
        session = None if options.get("auth") or not ours.identity else ours.session
        if session is not None:
            setting = services_of(self._request).settings.description.authorization
            options = {**options, "auth": _UserToken(session, setting)}
        failed: Exception
        has_body = any(options.get(name) is not None for name in _BODIES)
        only_reads = method.upper() in _READING and not has_body
        call = services_of(self._request).backend.calling("call", can_be_cancelled=only_reads)
        try:
            with call:
                try:
                    return session, super().request(method, url, **options)
                except (requests.ConnectionError, requests.Timeout) as error:
                    # Raise this error inside the "with" block. Only then does the circuit breaker
                    # count it, and stop other requests that would wait too: contract section 3.
                    raise unreachable(error, address(url)) from None
                except BackendDown:
                    raise
                except Exception as error:
                    failed = error  # this error does not mean that the backend is down
        except BackendDown as down:
            refused = isinstance(down, CallNotPermitted)
            if not refused:  # a call that is refused is logged where it is refused
                said = map(in_one_line, (method, address(url), down.reason))
                log.warning("BackendUnreachable: %s %s: %s", *said)
            lost = BackendUnreachable(down.reason)
            lost.sent = not refused and not isinstance(down, ConnectionFailed)
            raise lost from None
        raise failed
