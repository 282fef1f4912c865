"""Whether requests become slower, or memory grows, when a process has seen many sessions.

A process has seen a session when it has decrypted the session's ``Cookie`` header and has looked
the session up in Redis. Each session belongs to another user.

Three processes are compared, which have seen 1, 100,000 and 1,000,000 sessions. Each has its own
Redis. The processes are measured in turns, all on one processor. If the kernel chose a processor
for each of them, the same work could take twice as long in one of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authapp.services import IServices
from authapp.session import base64url
from authapp.session.encryption import FORMATS
from benchmarks.pyramid_pages import pyramid_page
from benchmarks.rounds import (
    Target,
    Turn,
    measure,
    microseconds,
    ratio,
    ratios,
    spread,
    table,
    turn,
)
from benchmarks.samples import SECRET, small
from benchmarks.visits import wsgi
from servers.redis_server import RedisServer
from site_under_test import COOKIE, settings

TITLE = "Growth"
SEEN = (1, 100_000, 1_000_000)
ROUNDS = 101
TOLERANCE = 1.10


def cookies() -> Iterator[str]:
    """Yield the ``Cookie`` headers of new sessions, as many as the caller takes.

    The headers are encrypted here, because this is faster than signing in.
    """
    form = FORMATS["next-auth-4"]
    key = form.key(SECRET.encode(), COOKIE)
    header, _ = form.with_key(key)
    cipher, session, mark = AESGCM(key.raw_value), small(), "the number of a session"
    session = replace(session, sid=mark, identity=replace(session.identity, id=mark))
    text = json.dumps(session.to_claims())
    for number in count():
        nonce = os.urandom(12)
        claims = text.replace(mark, f"1{number:021}").encode()
        sealed = cipher.encrypt(nonce, claims, header.encode())
        rest = ".".join(map(base64url.encode, (nonce, sealed[:-16], sealed[-16:])))
        yield f"{COOKIE}={header}..{rest}"


def resident() -> int:
    """Return the bytes of physical memory that this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def site(redis: str, seen: int) -> None:
    """Run the measured process.

    First the process decrypts many sessions, and looks them up in Redis. Then it prints its memory
    in bytes. After that, each line of input is a number: the process visits the page this many
    times, and prints the seconds per visit.

    :param redis: the URL of Redis.
    :param seen: how many sessions the process decrypts, including the one that visits the page.
    """
    ini = settings("http://localhost:9", shared=redis) | {"authapp.secret": SECRET}
    app = pyramid_page(lambda config: config.include("authapp"), **ini)
    headers = cookies()
    visit = wsgi(app, HTTP_COOKIE=next(headers))
    services = app.registry.getUtility(IServices)
    for _ in range(seen - 1):
        session = services.cookie_reader.read(next(headers)).session
        assert not services.successors.look_up(session).revoked
    print(json.dumps(resident()), flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(visit, time.perf_counter)(int(line))), flush=True)


class Site:
    """Run a measured process and its Redis while a ``with`` block runs."""

    def __init__(self, folder: Path, seen: int) -> None:
        self._redis, self._seen = RedisServer(folder), seen

    def __enter__(self) -> "Site":
        command = [sys.executable, "-m", "benchmarks.growth", self._redis.url, str(self._seen)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, **pipes)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self._redis.close()

    def memory(self) -> tuple[int, int]:
        """Return the memory of the process and of its Redis in bytes, after it has seen all
        sessions."""
        own = json.loads(self._process.stdout.readline())
        return own, self._redis.client.info("memory")["used_memory"]

    def settle(self) -> None:
        """Move the process and its Redis to the processor on which all turns are measured."""
        for process in (self._process, self._redis._process):
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})

    def turn(self, number: int) -> float:
        """Make the process visit the page ``number`` times. Return the seconds per visit."""
        print(number, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def report() -> tuple[str, list[Target]]:
    """Return the table and the targets."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sites = {seen: stack.enter_context(Site(folder, seen)) for seen in SEEN}
        memory = {seen: site.memory() for seen, site in sites.items()}
        for site in sites.values():
            site.settle()
        turns: dict[str, Turn] = {f"{seen:,}": site.turn for seen, site in sites.items()}
        seconds = measure(turns, ROUNDS)
    rows = []
    for (name, each), (own, redis) in zip(seconds.items(), memory.values(), strict=True):
        cost = [microseconds(median(each)), spread(each), f"{ratio(each, seconds['100,000']):.2f}"]
        rows.append([name, *cost, f"{own / 1e6:.1f} MB", f"{redis / 1e6:.2f} MB"])
    head = ["sessions seen", "a request", "spread", "over 100,000", "process", "Redis"]
    (own, redis), (own_later, redis_later) = memory[SEEN[1]], memory[SEEN[2]]
    what = "1,000,000 sessions / 100,000"
    return table(head, rows), [
        Target(
            f"growth, {what}: a request",
            TOLERANCE,
            ratios(seconds["1,000,000"], seconds["100,000"]),
        ),
        Target(f"growth, {what}: memory of the process", TOLERANCE, [own_later / own]),
        Target(f"growth, {what}: memory of Redis", TOLERANCE, [redis_later / redis]),
    ]


if __name__ == "__main__":
    site(sys.argv[1], int(sys.argv[2]))
