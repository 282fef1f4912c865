"""Requests per second through ``authapp.proxy`` and ``/verify``, and through nginx alone.

The same plain page is behind authapp and behind nginx. The column "ratio" is the rate of a row
divided by the rate of requests that go directly to this page. nginx has one worker.
"""

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import requests

from benchmarks.rounds import Target, in_turns, ratio, spread, table
from benchmarks.samples import small
from benchmarks.served import Load
from benchmarks.serving import ServedPage, cookie_of
from fleet import CONFIGURATION, NGINX

TITLE = "In front of other applications"
ROUNDS = 9
DIRECT = "the page, without sign-in"
PASSED, ASKED = "nginx `proxy_pass` to the page", "nginx `auth_request`, then `proxy_pass`"
PROXY, VERIFY = "`authapp.proxy` to the page", "`/verify` itself"

SERVER = """
server {{
  listen {listen};
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host localhost;
  location /passed {{ proxy_pass http://page/page; }}
  location /asked {{ auth_request /_verify; proxy_pass http://page/page; }}
  location = /_verify {{ internal; proxy_pass http://authapp/verify; }}
}}
upstream page {{ server {page}; keepalive 32; }}
upstream authapp {{ server {authapp}; keepalive 32; }}
"""


@dataclass(frozen=True)
class Address:
    """A URL for wrk, and the process whose processor time is counted."""

    url: str
    cpu_seconds: Callable[[], float]


@contextmanager
def nginx(folder: Path, page: str, authapp: str) -> Iterator[str]:
    """Run nginx in front of the page and of authapp. Yield the URL of nginx."""
    assert NGINX, "nginx is not installed; see .ci/packages"
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = {"page": urlsplit(page).netloc, "authapp": urlsplit(authapp).netloc}
    site = SERVER.format(listen=listen, **hosts)
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, site=site, workers=1))
    process = subprocess.Popen([NGINX, "-p", folder, "-c", file])
    try:
        for _ in range(500):
            try:
                requests.get(f"http://{listen}/passed", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                time.sleep(0.02)
        yield f"http://{listen}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def report() -> tuple[str, list[Target]]:
    """Return the table. It has no performance targets: Python cannot be as fast as nginx."""
    cookie = cookie_of(small())
    with tempfile.TemporaryDirectory() as name, ServedPage(Path(name), "plain") as plain:
        folder = Path(name)
        base = plain.url.removesuffix("/page")
        with (
            ServedPage(folder, "authapp", verify="true", proxy=f"/api = {base}") as ours,
            nginx(folder, plain.url, ours.url) as front,
        ):
            site = ours.url.removesuffix("/page")
            addresses = {
                DIRECT: Address(plain.url, plain.cpu_seconds),
                PASSED: Address(f"{front}/passed", plain.cpu_seconds),
                ASKED: Address(f"{front}/asked", ours.cpu_seconds),
                PROXY: Address(f"{site}/api/page", ours.cpu_seconds),
                VERIFY: Address(f"{site}/verify", ours.cpu_seconds),
            }
            loads = {each: Load(where, cookie) for each, where in addresses.items()}
            rates = in_turns({each: load.turn for each, load in loads.items()}, ROUNDS)
    rows = [
        [each, f"{median(rate):,.0f}", spread(rate), f"{ratio(rate, rates[DIRECT]):.2f}"]
        for each, rate in rates.items()
    ]
    return table(["", "requests a second", "spread", "ratio"], rows), []
