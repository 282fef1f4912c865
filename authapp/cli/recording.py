"""Records the requests to the backend and its responses, so that they can be shown."""

import io
import time
from dataclasses import dataclass
from typing import Any

import requests
from urllib3 import HTTPResponse

from authapp.backend.expressions import Response, read_response
from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import MAX_RESPONSE
from authapp.cli.masking import mask_body, mask_header, mask_url


@dataclass(frozen=True)
class Exchange:
    """One request and its response. ``answer`` is the response, or None if there was none."""

    request: requests.PreparedRequest
    seconds: float
    answer: requests.Response | None = None
    body: bytes = b""

    @property
    def content(self) -> Response:
        """The response as the object that expressions read. Empty if there was no response."""
        if self.answer is None:
            return {}
        set_cookies = self.answer.raw.headers.getlist("Set-Cookie")
        return read_response(self.answer.status_code, self.answer.headers, set_cookies, self.body)

    def shown(self, secrets: set[str]) -> dict[str, Any]:
        """Return the request and the response to show, as JSON with masked secrets.

        :param secrets: values that must not be shown: the password, and the tokens.
        """
        sent, answer = self.request.body or b"", self.answer
        shown = {
            "request": f"{self.request.method} {mask_url(self.request.url or '', secrets)}",
            "headers": {
                name: mask_header(name, str(value), secrets)
                for name, value in self.request.headers.items()
                if name.lower() in ("content-type", "authorization") or name.lower()[:2] == "x-"
            },
            "body": mask_body(
                sent.decode(errors="replace") if isinstance(sent, bytes) else sent, secrets
            ),
            "milliseconds": round(self.seconds * 1000),
        }
        if answer is None:
            return {**shown, "status": None}
        good = 200 <= answer.status_code < 300
        return {
            **shown,
            "status": answer.status_code,
            "answer_headers": [
                f"{name}: {mask_header(name, value, secrets)}"
                for name, value in answer.raw.headers.items()
                if name.lower()
                in ("content-type", "set-cookie", "location", "retry-after", "www-authenticate")
            ],
            "answer": mask_body(self.body.decode(errors="replace"), secrets, names=good),
        }


class RecordingSession(BoundedSession):
    """A :class:`BoundedSession` that keeps every request and its response in ``exchanges``."""

    def __init__(self, timeout: float, authorities: str | None = None) -> None:
        super().__init__(timeout, authorities)
        self.exchanges: list[Exchange] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """See ``requests.Session``. The body is read here, and the caller can read it again."""
        began = time.monotonic()
        try:
            answer = super().send(request, **options)
            body = answer.raw.read(MAX_RESPONSE + 1, decode_content=False)
        except BaseException:
            self.exchanges.append(Exchange(request, time.monotonic() - began))
            raise
        seconds = time.monotonic() - began
        answer.raw.release_conn()
        answer.raw = HTTPResponse(
            io.BytesIO(body),
            headers=answer.raw.headers,
            status=answer.status_code,
            preload_content=False,
        )
        self.exchanges.append(Exchange(request, seconds, answer, body))
        return answer
