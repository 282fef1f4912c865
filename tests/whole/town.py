"""The users, applications and servers of test_life.py, and the faults of the servers."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.cookiejar import CookieJar
from typing import Any, NamedTuple

from webob import Request
from webob import Response as Answer

from eventually import eventually
from servers import LOGIN, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import COOKIE, Site

PEOPLE = 200
TIMEOUT = 3
"""The timeout of the backend in seconds. It is long because the machine may be busy."""

AT_ONCE = 16
"""The number of requests that start at the same time."""

RETRY_DELAY = 2.0
"""After a fault of the backend, it can take this long until each session can be renewed again, in
real seconds."""

LEASED = 5.0
"""If Redis was paused, it can take this long until each session can be renewed again, in real
seconds. A lease that was not released must expire first."""


def hang(request: Request) -> Answer:
    time.sleep(TIMEOUT + 0.3)
    return Answer(status=500)


def answer_slowly(request: Request) -> None:
    time.sleep(0.3)


WELL = "slow, but well"
BACKEND_FAULTS: dict[str, Answer | Callable[[Request], Answer | None]] = {
    "down": Answer(status=503),
    "hangs": hang,
    WELL: answer_slowly,
    "500": Answer(status=500),
    "429": Answer(status=429, json_body={}),
    "HTML": Answer("<h1>Welcome</h1>"),
}
REDIS_FAULTS = ("stopped", "paused", "flushed", "restarted")


@dataclass
class Person:
    """A user with one browser. The tabs of the browser share its cookies."""

    name: str
    home: int
    jar: CookieJar = field(default_factory=CookieJar)
    signed_in: bool = False
    csrf: str = ""

    def cookie(self) -> str | None:
        return next((each.value for each in self.jar if each.name == COOKIE), None)


@dataclass
class Copy:
    """A copy of a session cookie. The session was signed out after the copy was made."""

    owner: Person
    cookie: str
    app: int
    known_to_all: bool


class Seen(NamedTuple):
    """The response to a request of a user."""

    person: Person
    path: str
    answer: Any


class FaultyTown:
    """The users, the two applications, and the faults of the backend and of Redis."""

    def __init__(self, backend: Served, redis: RedisServer) -> None:
        self.backend, self.redis = backend, redis
        self.random = random.Random(0)
        options = {
            "shared": patient(redis.url),
            # While Redis is down, users stay on one application, so it may renew without a lease.
            "shared__patience": "0",
            "backend__timeout": str(TIMEOUT),
            "backend__bulkhead": str(AT_ONCE),
            "login__rate": "100000/minute",
        }
        self.apps = [Site(backend.url, **options) for _ in range(2)]
        self.people = [Person(f"user{n:03}", n % 2) for n in range(PEOPLE)]
        self.copies: list[Copy] = []
        self.seen: Counter[str] = Counter()
        self.spent: list[str] = []
        self.backend_fault = ""
        self.redis_fault = ""
        self.trouble_until = 0.0
        self.paused_in_trouble = False
        self.sticky = False
        self._lock = threading.Lock()
        for path in (LOGIN, REFRESH):
            backend.instead[path] = self._answer

    def close(self) -> None:
        self.backend.instead.clear()
        for site in self.apps:
            site.services.store._connection.client.connection_pool.disconnect()
            site.services.http.close()

    def _answer(self, request: Request) -> Answer | None:
        fault = BACKEND_FAULTS.get(self.backend_fault)
        if callable(fault) and not isinstance(fault, Answer):
            fault = fault(request)
        if fault is None and request.path == REFRESH:
            token = request.json_body["refresh"]
            fault = request.get_response(self.backend.application)
            with self._lock:
                # A refresh that is rejected because of a sign-out spends no token.
                if token in self.spent or fault.status_int == 200:
                    self.spent.append(token)
        return fault

    # Faults and recovery.

    def in_trouble(self) -> bool:
        """Return True if a response may be 503, because the backend has or recently had a fault."""
        return self.backend_fault not in ("", WELL) or time.monotonic() < self.trouble_until

    def change_backend(self, fault: str) -> None:
        before, self.backend_fault = self.backend_fault, fault
        if {before, fault} - {"", WELL}:
            self.trouble_until = max(self.trouble_until, time.monotonic() + RETRY_DELAY)

    def recover(self) -> None:
        """After a fault of the backend, make each application call the backend. From then on, no
        response may be 503."""
        if self.trouble_until > 0:
            time.sleep(max(0, self.trouble_until - time.monotonic()))
            self.trouble_until = 0
            for site in self.apps:
                scout = Site(wsgi=site.app)
                scout.sign_in("scout", "password", status=303)
                scout.post("/session", headers={"X-CSRF-Token": scout.csrf()}, status=200)

    def change_redis(self, fault: str) -> None:
        """Change the state of Redis. During this step, each user uses only one application."""
        before, self.redis_fault = self.redis_fault, fault
        if fault in ("stopped", "flushed", "restarted"):
            # Redis has lost its data. Until an application notices this and writes its revocations
            # to Redis again, the other application does not know them. So the test does not check
            # that the other application refuses the copies.
            for each in self.copies:
                each.known_to_all = False
        if before == "stopped":
            self.redis.start()
        elif before == "paused":
            self.redis.go_on()
            if self.paused_in_trouble or self.in_trouble():
                self.trouble_until = time.monotonic() + LEASED
            self.paused_in_trouble = False
        elif fault == "stopped":
            self.redis.stop()
        elif fault == "paused":
            self.redis.pause()
        elif fault == "flushed":
            self.redis.client.flushall()
        elif fault == "restarted":
            self.redis.stop()
            self.redis.start()

    def settle(self, before: str) -> None:
        """At the end of a step, wait until both applications know the state of Redis."""
        if self.redis_fault in ("stopped", "paused"):
            for site in self.apps:
                assert site.get("/health?deep=1", status=503).json["shared"] == "down"
            return
        left = 10.0
        for site in self.apps:
            ask = partial(site.get, "/health?deep=1", status="*")
            left -= eventually(lambda ask=ask: ask().json["shared"] == "ok", left)
        if before == "stopped":
            for each in self.copies:
                each.known_to_all = True  # Each application has written its revocations again.
        self.redis_fault = ""
        self.sticky = False
