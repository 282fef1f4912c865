"""The proxy of a served site passes large bodies on without keeping them in memory."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import pytest
import requests

from authapp.issuer import main as issuer
from edge.proxies import SECRET, SilentHandler, ThreadingServer, sign_in
from served_site import ServedSite
from servers import ISSUER_SETTINGS, Served

pytestmark = pytest.mark.servers

PIECE = b"x" * 65_536
SIZE = 3_000 * len(PIECE)  # 197 MB
GO_ON = threading.Event()
"""The client sets this event when it has received the first part of an event stream."""

ROOM = 64 * 1024  # kB by which the process may grow


def big(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """An API. It returns a large body to GET, counts the bytes of any other request, and has an
    event stream at ``/events``."""
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: first\n\n"
        GO_ON.wait(20)
        yield b"data: second\n\n"
        return
    if environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [("Content-Length", str(SIZE))])
        for _ in range(SIZE // len(PIECE)):
            yield PIECE
        return
    left = total = int(environ["CONTENT_LENGTH"])
    while left and (data := environ["wsgi.input"].read(min(left, 65_536))):
        left -= len(data)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield str(total - left).encode()


def peak(site: ServedSite) -> int:
    """Return the most memory that the site's process has used so far, in KiB."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])


def test_large_bodies_pass_in_bounded_memory_and_events_at_once(tmp_path: Path) -> None:
    api = make_server("127.0.0.1", 0, big, ThreadingServer, handler_class=SilentHandler)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    with Served(issuer({}, **ISSUER_SETTINGS)) as backend, requests.Session() as browser:
        browser.trust_env = False
        changes = {
            "authapp.secret": SECRET,
            "authapp.backend.url": backend.url,
            "authapp.backend.verify": "",
            "authapp.proxy": f"/api = http://127.0.0.1:{api.server_port}",
        }
        site = ServedSite(tmp_path, changes)
        try:
            sign_in(browser, site.url)
            token = browser.get(site.url + "/session", timeout=20).json()["csrf_token"]
            before = peak(site)
            with browser.get(site.url + "/api/file", stream=True, timeout=60) as answer:
                assert answer.headers["Content-Length"] == str(SIZE)
                received = sum(map(len, answer.iter_content(len(PIECE))))
            pieces = (PIECE for _ in range(SIZE // len(PIECE)))
            headers = {"X-CSRF-Token": token}
            sent = browser.post(site.url + "/api/file", pieces, headers=headers, timeout=120)
            assert (received, sent.text) == (SIZE, str(SIZE))
            assert peak(site) - before < ROOM
            with browser.get(site.url + "/api/events", stream=True, timeout=10) as answer:
                lines = answer.iter_lines()
                assert next(lines) == b"data: first"
                GO_ON.set()
                assert list(lines) == [b"", b"data: second", b""]
            with browser.get(site.url + "/api/file", stream=True, timeout=60) as answer:
                next(answer.iter_content(10))  # and the client goes away
            assert browser.get(site.url + "/session", timeout=20).json()["user"]["id"] == 1
        finally:
            site.stop()
            api.shutdown()
            api.server_close()
