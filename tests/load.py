"""Send many requests at the same time, and measure each response.

The client itself needs little processor time, so it hardly slows down the site that it measures.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """A response, and the seconds until it came."""

    status: int
    seconds: float
    head: str
    body: str

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie that the response sets."""
        start = f"Set-Cookie: {name}="
        for line in self.head.split("\r\n"):
            if line.startswith(start):
                return line[len(start) :].partition(";")[0]
        return None


def burst(requests: Sequence[tuple[str, str]]) -> list[Answer]:
    """Send one GET request for each pair of a URL and a ``Cookie`` header, all at the same time.

    All connections are opened before the first request is sent. If no response comes within a
    minute, the status is 0.
    """
    with ThreadPoolExecutor(1) as pool:  # Playwright keeps a loop in the thread of tests
        return pool.submit(asyncio.run, _burst(requests)).result()


async def _burst(requests: Sequence[tuple[str, str]]) -> list[Answer]:
    go = asyncio.Event()
    opened = asyncio.Semaphore(0)

    async def one(url: str, cookie: str) -> Answer:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        opened.release()
        await go.wait()
        began = time.perf_counter()
        writer.write(
            (
                f"GET {parts.path or '/'}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                f"Accept: text/html\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
            ).encode()
        )
        try:
            raw = await asyncio.wait_for(reader.read(), 60)
        except (OSError, asyncio.TimeoutError):
            raw = b""
        seconds = time.perf_counter() - began
        writer.close()
        if not raw.startswith(b"HTTP/"):
            return Answer(0, seconds, "", "")
        head, _, body = raw.decode("latin-1").partition("\r\n\r\n")
        return Answer(int(head.split(" ", 2)[1]), seconds, head, body)

    tasks = [asyncio.create_task(one(url, cookie)) for url, cookie in requests]
    for _ in requests:
        await opened.acquire()
    go.set()
    return await asyncio.gather(*tasks)


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Return the time within which a share of the responses came, in seconds.

    :param share: 0.99 for the p99.
    """
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
