"""Reach a WSGI application inside this process as if it were on the network.

So the embedded issuer is spoken to by the very same client code as a real backend, without
a socket and without the server waiting for itself.
"""

import io
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from webob import Request

WSGIApplication = Callable[..., Any]


class WSGIAdapter(HTTPAdapter):
    """A transport adapter of requests that calls a WSGI application."""

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See requests. Timeouts mean nothing here: the application is in this process."""
        body = request.body or b""
        answer = Request.blank(
            request.url,
            method=request.method,
            headers=dict(request.headers),
            body=body.encode() if isinstance(body, str) else body,
        ).get_response(self._application)
        return self.build_response(
            request,
            HTTPResponse(
                body=io.BytesIO(answer.body),
                headers=answer.headers.items(),
                status=answer.status_int,
                reason=answer.status[4:],
                preload_content=False,
            ),
        )
