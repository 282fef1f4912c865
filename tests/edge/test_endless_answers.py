"""If the response of an API never ends, the proxy still frees its slot and its thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from authapp.edge.upstream import ClientGone, UpstreamBroken
from authapp.issuer import main as issuer
from edge.proxied_api import Raw, Signed
from edge.proxies import SECRET, sign_in
from eventually import eventually
from served_site import ServedSite
from servers import ISSUER_SETTINGS, Served

GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEADER = b"HTTP/1.1 200 OK\r\nX-A: "
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"

Speak = Callable[[socket.socket], None]


def endless(begin: bytes, more: bytes, pause: float = 0) -> Speak:
    """Return an API that sends ``more`` again and again, until the connection is closed.

    :param pause: the seconds to wait after each ``more``.
    """

    def speak(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(begin)
            while True:
                connection.sendall(more)
                time.sleep(pause)

    return speak


@pytest.mark.parametrize(
    ("answer", "timeout"),
    [
        (endless(b"", CONTINUE * 100), 60),
        (endless(b"HTTP/1.1 100 Continue\r\n", b"X-A: b\r\n" * 90 + b"\r\n" + CONTINUE), 60),
        (endless(b"", CONTINUE, 0.05), 0.5),
        (endless(HEADER, b"x", 0.05), 0.5),
        (endless(b"HTTP", b" ", 0.05), 0.5),
    ],
    ids=["interim", "interim headers", "slow interim", "slow header", "slow status"],
)
def test_headers_that_do_not_end_are_given_up(
    backend: Served, answer: Speak, timeout: float
) -> None:
    with Raw(answer, GOOD) as api:
        keys = {"proxy__timeout": str(timeout), "proxy__bulkhead": "1"}
        site = Signed(backend, api.url, **keys)
        began = time.monotonic()
        site.get("/api/x", status=503)
        assert time.monotonic() - began < 20
        assert site.get("/api/x").body == b"ok"
        assert len(api.got) == 2  # an API that misbehaves is asked once


@pytest.mark.parametrize(
    ("answer", "timeout"),
    [
        (endless(CHUNKED + b"0\r\n", b"x: y\r\n" * 1000), 60),
        (endless(CHUNKED + b"0\r\n", b"x: y\r\n", 0.05), 0.5),
        (endless(CHUNKED + b"0\r\nx: ", b"y", 0.05), 0.5),
        (endless(CHUNKED + b"2;", b"x", 0.05), 0.5),
    ],
    ids=["trailers", "slow trailers", "slow trailer", "slow chunk size"],
)
def test_the_end_of_a_body_takes_no_longer_than_a_part(
    backend: Served, answer: Speak, timeout: float
) -> None:
    with Raw(answer, GOOD) as api:
        keys = {"proxy__timeout": str(timeout), "proxy__bulkhead": "1"}
        site = Signed(backend, api.url, **keys)
        began = time.monotonic()
        with pytest.raises(UpstreamBroken):
            site.get("/api/x")
        assert time.monotonic() - began < 20
        assert site.get("/api/x").body == b"ok"


def test_a_slow_body_may_take_longer_than_one_wait(backend: Served) -> None:
    def slow(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        for _ in range(20):
            time.sleep(0.1)
            connection.sendall(b"1\r\nx\r\n")
        connection.sendall(b"0\r\n\r\n")

    with Raw(slow) as api:
        site = Signed(backend, api.url, proxy__timeout="1")
        assert site.get("/api/x").body == b"ok" + b"x" * 20


@pytest.fixture
def silent() -> Iterator[Raw]:
    """An API that completes only its fourth response. Its other responses never end."""
    done = threading.Event()

    def stop(begin: bytes) -> Speak:
        def speak(connection: socket.socket) -> None:
            connection.sendall(begin)
            done.wait(60)

        return speak

    with Raw(stop(b""), stop(CHUNKED), endless(HEADER, b"x", 0.2), GOOD, stop(b"")) as api:
        yield api
        done.set()


@pytest.mark.servers
def test_a_client_that_has_gone_holds_no_slot_and_does_not_delay_the_stop(
    tmp_path: Path, silent: Raw
) -> None:
    with Served(issuer({}, **ISSUER_SETTINGS)) as backend, requests.Session() as browser:
        browser.trust_env = False
        changes = {
            "authapp.secret": SECRET,
            "authapp.backend.url": backend.url,
            "authapp.backend.verify": "",
            "authapp.proxy": f"/api = {silent.url}",
            "authapp.proxy.timeout": "50",
        }
        site = ServedSite(tmp_path, changes)
        try:
            sign_in(browser, site.url)
            cookies = "; ".join(f"{each.name}={each.value}" for each in browser.cookies)

            def ask() -> socket.socket:
                client = socket.create_connection(("127.0.0.1", site.port))
                client.sendall(f"GET /api/x HTTP/1.0\r\nCookie: {cookies}\r\n\r\n".encode())
                return client

            clients = []
            for number in (1, 2, 3):
                clients.append(ask())
                eventually(lambda number=number: len(silent.got) == number)
            assert clients[1].recv(12) == b"HTTP/1.0 200"
            assert browser.get(site.url + "/api/x", timeout=20).status_code == 503
            for each in clients:
                each.close()
            eventually(lambda: browser.get(site.url + "/api/x", timeout=20).text == "ok")
            last = ask()
            eventually(lambda: len(silent.got) == 5)
            last.close()
        finally:
            began = time.monotonic()
            site.stop()
        assert time.monotonic() - began < 8
        assert "Traceback" not in site.log
        assert site.log.count("UpstreamAway") == site.log.count("all slots of the proxy are taken")


def test_other_servers_can_say_that_the_client_has_gone(backend: Served) -> None:
    """A server sets ``waitress.client_disconnected``, as waitress does."""
    silent = threading.Event()

    def part(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        silent.wait(20)

    with Raw(lambda connection: silent.wait(20) and None, part, GOOD) as api:
        site = Signed(backend, api.url, proxy__timeout="60", proxy__bulkhead="1")
        gone: list[bool] = []
        environ = {"waitress.client_disconnected": lambda: bool(gone)}
        threading.Timer(0.3, gone.append, [True]).start()
        site.get("/api/x", extra_environ=environ, status=503)
        gone.clear()
        threading.Timer(0.3, gone.append, [True]).start()
        with pytest.raises(ClientGone):
            site.get("/api/x", extra_environ=environ)
        silent.set()
        assert site.get("/api/x").body == b"ok"
