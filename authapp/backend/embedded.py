"""Call a WSGI application in this process as if the application were on the network.

The same client code calls the embedded issuer and a real backend. A call uses no socket and no
second server thread, so a server with one thread can call its own issuer.
"""

import io
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from webob import Request

WSGIApplication = Callable[..., Any]
"""A WSGI application (PEP 3333)."""


class WSGIAdapter(HTTPAdapter):
    """A transport adapter for ``requests``, which calls a WSGI application.

    :param application: the WSGI application.
    """

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See ``requests.adapters.HTTPAdapter``. The timeout is ignored."""
        body = request.body or b""
        response = Request.blank(
            request.url,
            method=request.method,
            headers=dict(request.headers),
            body=body.encode() if isinstance(body, str) else body,
        ).get_response(self._application)
        return self.build_response(
            request,
            HTTPResponse(
                body=io.BytesIO(response.body),
                headers=response.headers.items(),
                status=response.status_int,
                reason=response.status[4:],
                preload_content=False,
            ),
        )
