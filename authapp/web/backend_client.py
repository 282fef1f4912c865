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
from authapp.web.cookie_writer import write_to_response
from authapp.web.request_session import RequestSession, renew_session


class _Bearer(AuthBase):
    """Adds the user's access token to a call (RFC 6750 section 2.1).

    The options of a call hold this object instead of the token. So an error report that prints
    their values does not show the token.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, call: requests.PreparedRequest) -> requests.PreparedRequest:
        if not re.fullmatch("[!-~]+", self._session.tokens.access):
            # requests and http.client would refuse it too, but print the token in their error.
            raise ValueError("the access token cannot be sent in a header")
        call.headers["Authorization"] = f"Bearer {self._session.tokens.access}"
        return call


class BackendUnreachable(requests.ConnectionError, requests.Timeout):
    """The backend did not answer a call, or is down and was not called. The text says which.

    If a view does not catch this, the response is 503.
    """


class BackendSession(BoundedSession):
    """A ``requests`` session for calls to the backend as the signed-in user.

    It takes paths below ``authapp.backend.url`` and sends the user's access token with every
    call. No call goes to another origin. After a 401 it renews the session and tries once more,
    unless the body came from a file or an iterator, which cannot be read twice.
    """

    def __init__(self, request: Request) -> None:
        services = services_of(request)
        super().__init__(services.settings.backend_timeout, services.settings.backend_ca)
        self.adapters = services.http.adapters  # all requests share one pool of connections
        self._request = request
        self._url = (services.backend_url or "") + "/"

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Call the backend. The parameters are those of ``requests.Session.request``.

        :param url: a path below the backend's URL, or a full URL of the same origin.
        :returns: the response, whatever its status.
        :raises BackendUnreachable: if the backend does not answer. While it is known to be down,
            this is raised at once.
        :raises ValueError: if the URL is of another origin, or if ``authapp.backend.url`` is not
            set.
        """
        if self._url == "/":
            raise ValueError("request.backend needs authapp.backend.url in the ini file")
        url = urljoin(self._url, url.lstrip("/"))
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            raise ValueError("request.backend calls the origin of authapp.backend.url only")
        ours: RequestSession = self._request.authapp
        response = self._send_as(ours, method, url, options)
        body = response.request.body
        is_repeatable = body is None or isinstance(body, bytes | str)
        if response.status_code == 401 and ours.identity and ours.session and is_repeatable:
            before = ours.session
            renew_session(self._request, before, wait=True)
            write_to_response(self._request, ours)
            if ours.identity and ours.session is not before:
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
                    # Inside the breaker's context, so that it opens and other requests do not
                    # wait for this backend (contract section 3).
                    raise unreachable(error, url) from None
        except BackendDown as down:
            raise BackendUnreachable(down.reason) from None
