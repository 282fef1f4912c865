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
        headers = dict(request.headers)
        headers.pop("Transfer-Encoding", None)  # a server removes it when it has read the chunks
        response = Request.blank(
            request.url, method=request.method, headers=headers, body=_read(request.body)
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


def _read(body: Any) -> bytes:
    """Return the whole body of a request.

    :param body: what ``requests`` sends as a body: bytes, a string, an open file, an iterable of
        bytes or strings, or None for no body.
    """
    if hasattr(body, "read"):
        body = body.read()
    if body is None or isinstance(body, bytes | bytearray | str):
        body = [body or b""]
    return b"".join(part.encode() if isinstance(part, str) else part for part in body)
