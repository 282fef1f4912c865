"""``request.backend``: the application's own calls to the backend, as the signed-in user."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from pyramid.request import Request
from requests.auth import AuthBase

from authapp.backend.http_backend import unreachable
from authapp.backend.http_client import BoundedSession
from authapp.backend.protocol import BackendDown
from authapp.services import services_of
from authapp.session.session import Session
from authapp.web.request_session import RequestSession, renew_session, write_to_response


class _Bearer(AuthBase):
    """The user's access token (RFC 6750): no text that a traceback with local variables shows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, call: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._session.tokens.access
        if not re.fullmatch("[!-~]+", token):
            # requests and http.client would say which.
            raise ValueError("the access token does not fit into a header")
        call.headers["Authorization"] = f"Bearer {token}"
        return call


class BackendUnreachable(requests.ConnectionError, requests.Timeout):
    """The backend gave no answer to a call, or is known to give none; its text says which.

    Where a view does not catch it, the answer is 503.
    """


class BackendSession(BoundedSession):
    """A session of requests that is bound to the backend's URL and to the user.

    A path is taken below ``authapp.backend.url``; the access token goes along, and to no
    other origin. A 401 renews the session once, and the call is tried again.
    """

    def __init__(self, request: Request) -> None:
        services = services_of(request)
        super().__init__(services.settings.backend_timeout, services.settings.backend_ca)
        self.adapters = services.http.adapters  # connections are pooled by the application
        self._request = request
        self._url = (services.backend_url or "") + "/"

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """See requests.

        :param url: a path below the backend's URL.
        :raises BackendUnreachable: when there is no answer; at once, while the backend is known
            to be down.
        :raises ValueError: for a URL of another origin, and without ``authapp.backend.url``.
        """
        if self._url == "/":
            raise ValueError("request.backend needs authapp.backend.url in the ini file")
        url = urljoin(self._url, url.lstrip("/"))
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            raise ValueError("request.backend is for URLs of authapp.backend.url only")
        ours: RequestSession = self._request.authapp
        response = self._send_as(ours, method, url, options)
        # A body that was read from a file or an iterator is gone and cannot be sent again.
        body = response.request.body
        again = body is None or isinstance(body, bytes | str)
        if response.status_code == 401 and ours.identity and ours.session and again:
            refused = ours.session
            renew_session(self._request, refused, wait=True)
            write_to_response(self._request, ours)
            if ours.identity and ours.session is not refused:
                response.close()
                response = self._send_as(ours, method, url, options)
        return response

    def _send_as(
        self, ours: RequestSession, method: str, url: str, options: dict[str, Any]
    ) -> requests.Response:
        if ours.identity and ours.session and options.get("auth") is None:
            options = {**options, "auth": _Bearer(ours.session)}
        try:
            with services_of(self._request).backend.breaker.call():
                try:
                    return super().request(method, url, **options)
                except (requests.ConnectionError, requests.Timeout) as error:
                    raise unreachable(error, url) from None
        except BackendDown as down:
            # Others are not to wait for what will not come: contract section 3.
            raise BackendUnreachable(down.reason) from None
