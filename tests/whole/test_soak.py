"""Send 20,000 requests to one process. Its memory, threads and open files must not grow.

Lifetimes are some seconds, so sessions are renewed, end and expire during the test.
"""

import base64
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from authapp.issuer import main as issuer
from eventually import eventually
from served_site import ServedSite
from servers import ISSUER_SETTINGS, REFRESH, Served
from servers.redis_server import RedisServer, patient

NAME = "authapp.session"
REQUESTS, WARM = 20_000, 5_000
USERS = 8
ACCESS, WINDOW, REUSE = 2, 30, 15
"""The lifetimes of an access token, a refresh token and a stored successor, in seconds."""

GROWTH, CACHED = 12 * 1024 * 1024, 10 * 1024
"""The memory may grow by ``GROWTH`` bytes, and by ``CACHED`` more bytes for each renewal. Each
renewal puts a session into a cache, which is limited but is not full when the test ends. A slow
machine renews more often."""

SOCKETS = 64

_PRINTED = [*range(0x20, 0x7F), *range(0xA0, 0x100)]
"""The codes of the characters that the server accepts in a header."""


class Person:
    """A user with one browser, who acts at random with a fixed seed.

    No other browser signs in as this user. So the user must be signed in between each sign-in and
    the next sign-out.
    """

    def __init__(self, url: str, number: int) -> None:
        self.name = f"user{number}"
        self.answers: Counter[tuple[str, int]] = Counter()
        self._address = urlsplit(url).netloc
        self._connection = HTTPConnection(self._address, timeout=30)
        self._random = random.Random(number)
        self._cookies: dict[str, str] = {}
        self._signed_in = False
        self._signed_out: list[str] = []
        self._spent: list[str] = []

    def ask(
        self,
        path: str,
        method: str = "GET",
        form: dict[str, str] | None = None,
        cookie: str | None = None,
        **headers: str,
    ) -> tuple[HTTPResponse, str]:
        """Send a request with the cookies of this browser.

        :param cookie: a ``Cookie`` header to send instead.
        """
        own = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers |= {"Accept": "text/html", "Cookie": own if cookie is None else cookie}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        kind = "other" if cookie is not None else path
        self.answers[f"{method} {kind}", response.status] += 1
        assert response.status < 500, (path, response.status, text)
        assert "eyJ" not in text, "the beginning of a JWT"
        if cookie is None:
            self._keep(response)
        return response, text

    def _keep(self, response: HTTPResponse) -> None:
        for line in response.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            if name == NAME and NAME in self._cookies:
                self._spent = [*self._spent[-9:], self._cookies[NAME]]
            if "Max-Age=0" in line:
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value

    def go_on(self, count: int) -> None:
        """Send at least ``count`` requests, and at most a few more."""
        enough = sum(self.answers.values()) + count
        deeds: list[Callable[[], None]] = [
            self.read_the_public_page,
            self.see_the_account,
            self.ask_for_the_session,
            self.bring_nonsense,
            self.bring_an_old_cookie,
            self.renew_now,
            self.sign_out,
        ]
        while sum(self.answers.values()) < enough:
            if not self._signed_in:
                self.sign_in()
            (deed,) = self._random.choices(deeds, [400, 250, 250, 60, 30, 3, 4])
            deed()
        self._connection.close()

    def sign_in(self) -> None:
        self._cookies.clear()
        _, page = self.ask("/login")
        csrf = re.search('name="csrf_token" value="([^"]+)', page)
        assert csrf
        form = {"username": self.name, "password": "password", "csrf_token": csrf[1]}
        response, _ = self.ask("/login", "POST", form)
        assert response.status == 303
        self._signed_in = True

    def read_the_public_page(self) -> None:
        self._assert_signed_in(*self.ask("/"), self.name)

    def see_the_account(self) -> None:
        self._assert_signed_in(*self.ask("/account"), f"{self.name}@example.com")

    def ask_for_the_session(self) -> None:
        self._assert_signed_in(*self.ask("/session"), f"{self.name}@example.com")

    def _assert_signed_in(self, response: Any, text: str, name: str) -> None:
        """Check that a response shows the user. A 503 is also allowed, but is counted: on a busy
        machine, a renewal may take too long."""
        if response.status == 503 or '"BackendUnavailable"' in text:
            self.answers["not renewed in time", 503] += 1
        else:
            where = response.headers.get("Location")
            assert (response.status, name in text) == (200, True), where

    def bring_nonsense(self) -> None:
        noise = base64.urlsafe_b64encode(self._random.randbytes(self._random.randrange(900)))
        value = self._random.choice(
            [
                noise.decode(),
                f"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..{noise.decode()}.{noise.decode()}.AAAA",
                "".join(chr(self._random.choice(_PRINTED)) for _ in range(40)),
                '"\\377"',
            ]
        )
        name = self._random.choice([NAME, f"{NAME}.0", f"{NAME}.1", "other"])
        response, _ = self.ask("/account", cookie=f"{name}={value}")
        assert response.status == 303

    def bring_an_old_cookie(self) -> None:
        """Send the cookie of a revoked session, and a cookie from before a renewal."""
        for old in self._signed_out[-1:]:
            response, text = self.ask("/account", cookie=f"{NAME}={old}")
            assert (response.status, self.name in text) == (303, False)
        for old in self._spent[-1:]:
            response, text = self.ask("/", cookie=f"{NAME}={old}")
            assert (response.status, self.name in text) == (200, True)

    def renew_now(self) -> None:
        response, _ = self.ask("/session", "POST", **{"X-CSRF-Token": self._csrf()})
        assert response.status == 200

    def sign_out(self) -> None:
        form = {"csrf_token": self._csrf()}
        if self._random.random() < 0.2:
            form["everywhere"] = "1"
        self._signed_out = [*self._signed_out[-9:], self._cookies[NAME]]
        response, _ = self.ask("/logout", "POST", form)
        assert response.status == 303
        assert NAME not in self._cookies
        self._signed_in, self._spent = False, []

    def _csrf(self) -> str:
        _, text = self.ask("/session")
        csrf = re.search('"csrf_token": "([^"]+)', text)
        assert csrf
        return csrf[1]


class Size(dict[str, int]):
    """The memory in bytes, and the number of threads and of open files of a process."""

    def __init__(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
        self.memory = int(found["VmRSS"]) * 1024
        self.threads = int(found["Threads"])
        self.files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        super().__init__(memory=self.memory, threads=self.threads, files=self.files)


@pytest.fixture
def backend() -> Iterator[Served]:
    users = "\n".join(f"user{n} password user{n}@example.com" for n in range(USERS))
    lifetimes = {"issuer.access_lifetime": str(ACCESS), "issuer.refresh_lifetime": str(WINDOW)}
    with Served(issuer({}, **{**ISSUER_SETTINGS, **lifetimes, "issuer.users": users})) as served:
        yield served


def test_20000_requests_leave_memory_threads_and_files_bounded(
    tmp_path: Path, backend: Served, redis_server: RedisServer
) -> None:
    site = ServedSite(
        tmp_path,
        {
            "authapp.backend.url": backend.url,
            "authapp.backend.verify": f"jwks:{backend.url}/.well-known/jwks.json",
            "authapp.backend.timeout": "5",
            "authapp.backend.bulkhead": "4",
            "authapp.shared": patient(redis_server.url, 5),
            "authapp.refresh.reuse": str(REUSE),
            "authapp.refresh.lifetime": str(WINDOW),
        },
    )
    people = [Person(site.url, number) for number in range(USERS)]

    def all_users_make_requests(requests: int) -> None:
        with ThreadPoolExecutor(USERS) as pool:
            list(pool.map(lambda person: person.go_on(requests // USERS), people))

    try:
        pid = site.process.pid
        all_users_make_requests(WARM)
        warm, renewals = Size(pid), -backend.calls[REFRESH]
        watch = Watch(redis_server)
        all_users_make_requests(REQUESTS - WARM)
        keys = watch.stop()
        eventually(lambda: Size(pid).threads <= warm.threads, 10)
        done = Size(pid)
        renewals += backend.calls[REFRESH]
        eventually(lambda: redis_server.keys() == [], WINDOW + REUSE + 15)
    finally:
        site.stop()
    answers = sum((person.answers for person in people), Counter[tuple[str, int]]())
    print(f"{warm} -> {done}; at most {keys} keys; {backend.calls}; {sorted(answers.items())}")
    assert sum(answers.values()) >= REQUESTS
    assert answers["not renewed in time", 503] < REQUESTS / 100
    assert backend.calls[REFRESH] > USERS
    tokens = [each.json_body["refresh"] for each in backend.requests if each.path == REFRESH]
    assert len(set(tokens)) == len(tokens), "each refresh token is spent once"
    assert done.memory - warm.memory < GROWTH + CACHED * renewals
    assert done.threads == warm.threads
    assert done.files < SOCKETS
    # The entries that renewals and sign-outs write, until they expire.
    assert keys <= 2 * (backend.calls[REFRESH] + 2 * answers["POST /logout", 303])
    for line in ("Traceback", "InternalError", "RefreshTokenRejected"):
        assert line not in site.log


class Watch:
    """Checks once a second that each key in Redis has an expiry."""

    def __init__(self, server: RedisServer) -> None:
        self._server, self._client = server, server.client
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._looking = self._pool.submit(self._look)

    def _look(self) -> int:
        most = 0
        while not self._done.wait(1):
            keys = self._server.keys()
            most = max(most, len(keys))
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.pttl(key)
                lives = pipeline.execute()
            # -2 means that the key has expired between the two commands.
            assert all(life == -2 or 0 <= life <= (WINDOW + REUSE + 1) * 1000 for life in lives)
        return most

    def stop(self) -> int:
        """Stop checking. Return the greatest number of keys in Redis at any check."""
        self._done.set()
        self._pool.shutdown()
        return self._looking.result()
