"""Calls a WSGI application in this process as if it were on the network.

The embedded issuer is called by the same client code as a real backend. No socket is needed, and
no second server thread: a server with one thread can still call its own issuer.
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
    """A transport adapter for requests that calls a WSGI application."""

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self._application = application

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """See ``requests.adapters.HTTPAdapter``. The timeout is ignored."""
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
