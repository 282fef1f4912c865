"""A token is spent once, no fault signs a user out, and a sign-out wins.

These are the promises 1 to 3 in docs/security.md.

There are four processes behind nginx, one Redis, and Django with SimpleJWT as the backend.
"""

import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from webob import Request, Response

from authapp.store.redis_leases import LEASE
from eventually import eventually
from fleet import Fleet
from load import Answer, burst
from servers import REFRESH, Served
from servers.redis_server import RedisServer, patient
from servers.simplejwt_server import Django, serve_django

NAME = "authapp.session"
ACCESS = 3
"""The lifetime of an access token in seconds. It is short, because tests wait until it is over."""


class Place:
    """The servers of these tests, which all tests of this module share."""

    def __init__(self, folder: Path, redis: RedisServer, backend: Served, django: Django) -> None:
        self.redis, self.backend, self.django = redis, backend, django
        self.hold = folder / "hold"
        self.fleet = Fleet(
            folder,
            {
                "authapp.backend.url": backend.url,
                "authapp.backend.verify": f"secret:{django.key}",
                "authapp.shared": patient(redis.url),
                "authapp.backend.timeout": "8",
                "authapp.login.rate": "1000/minute",
                "pyramid.includes": "slow_pages",
                "tests.hold": str(self.hold),
            },
        )
        self.url = self.fleet.url

    def sign_in(self, name: str = "alice") -> str:
        """Sign in. Return the ``Cookie`` header of the new session."""
        with requests.Session() as browser:
            page = browser.get(self.url + "/login", timeout=10).text
            csrf = re.search('name="csrf_token" value="([^"]+)', page)
            assert csrf
            form = {
                "username": name,
                "password": f"{name}-password",
                "csrf_token": csrf[1],
                "next": "/account",
            }
            page = browser.post(self.url + "/login", form, timeout=10).text
            assert f"{name}@example.com" in page
            return f"{NAME}={browser.cookies[NAME]}"

    def expired(self, sessions: int = 1, name: str = "alice") -> list[str]:
        """Return the ``Cookie`` headers of new sessions whose access tokens have expired
        already."""
        cookies = [self.sign_in(name) for _ in range(sessions)]
        self.django.set(access=300)  # Later access tokens do not expire during a burst.
        over = time.time() + ACCESS + 1
        while time.time() < over:
            time.sleep(0.05)
        return cookies

    def refreshes(self) -> int:
        return self.backend.calls[REFRESH]

    def get(self, cookie: str, path: str = "/account") -> Answer:
        (answer,) = burst([(self.url + path, cookie)])
        return answer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("fleet")
    redis = RedisServer(folder)
    # Django rotates and blacklists tokens. The server before it counts calls and can fail.
    django = serve_django(folder, ACCESS, 3600)
    with django as process, Served(process.forward) as backend:
        place = Place(folder, redis, backend, process)
        yield place
        place.fleet.close()
    redis.close()


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    made.django.set(access=ACCESS)
    yield made
    made.backend.instead.clear()
    made.hold.unlink(missing_ok=True)
    for site in made.fleet.sites:
        if site.process.poll() is not None:
            site.start()


def signed_in(answer: Answer) -> bool:
    return answer.status == 200 and "alice@example.com" in answer.body


def test_400_requests_with_one_expired_session_spend_one_refresh_token(place: Place) -> None:
    def slow(request: Request) -> Response:
        time.sleep(0.1)
        return request.get_response(place.backend.application)

    place.backend.instead[REFRESH] = slow
    (cookie,) = place.expired()
    before = place.refreshes()
    answers = burst([(place.url + "/account", cookie)] * 400)
    assert place.refreshes() == before + 1
    assert all(signed_in(answer) for answer in answers)
    successors = {answer.cookie(NAME) for answer in answers}
    assert None not in successors
    # All these cookies contain the same session with the same tokens.
    assert all(signed_in(place.get(f"{NAME}={each}")) for each in successors)
    assert place.refreshes() == before + 1


def test_50_expired_sessions_spend_50_refresh_tokens(place: Place) -> None:
    cookies = place.expired(50)
    before = place.refreshes()
    visits = [(place.url + "/account", cookie) for cookie in cookies * 4]
    answers = burst(visits)
    # On a busy machine the backend may be slow for a second. Then some requests get 503.
    late = [each for each, answer in zip(visits, answers, strict=True) if answer.status == 503]
    assert all(signed_in(answer) for answer in answers if answer.status != 503)
    assert all(signed_in(answer) for answer in burst(late))
    assert place.refreshes() == before + 50


def test_due_session_blocks_only_the_request_that_renews(place: Place) -> None:
    """While one request renews a due session, other requests of this session are not blocked. A
    session is due in the last third of the lifetime of its access token."""
    place.django.set(access=9)
    cookie, before = place.sign_in(), place.refreshes()
    come, go = threading.Event(), threading.Event()

    def hold(request: Any) -> None:
        come.set()
        go.wait(5)

    def visit_until_due() -> Answer:
        while not come.is_set():
            answer = place.get(cookie)
            time.sleep(0.05)
        return answer

    place.backend.instead[REFRESH] = hold
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(visit_until_due)
        assert come.wait(20)
        answers = burst([(place.url + "/account", cookie)] * 19)
        assert all(signed_in(answer) for answer in answers)
        assert not renewing.done()
        go.set()
        assert signed_in(renewing.result(10))
    assert place.refreshes() == before + 1


class Renewing:
    """Makes the backend hold each renewal until the test sets ``go``.

    :param rotate: True if the backend spends the refresh token before it waits. False if it never
        spends the token.
    :ivar come: an event that is set when a renewal arrives.
    :ivar go: an event that ends the wait when the test sets it.
    """

    def __init__(self, place: Place, rotate: bool) -> None:
        self.come, self.go = threading.Event(), threading.Event()

        def hold(request: Any) -> Response:
            answer = request.get_response(place.backend.application) if rotate else None
            self.come.set()
            self.go.wait(20)
            return answer or Response(status=500)

        place.backend.instead[REFRESH] = hold


def test_process_killed_before_the_refresh_delays_renewal_until_the_lease_ends(
    place: Place,
) -> None:
    """If a process is killed before the backend has spent the refresh token, another process renews
    after the lease of the killed process has expired."""
    (cookie,) = place.expired()
    renewing, site = Renewing(place, rotate=False), place.fleet.sites[0]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(burst, [(site.url + "/account", cookie)])
        assert renewing.come.wait(5)
        site.stop(signal.SIGKILL)
        place.backend.instead.clear()
        took = eventually(lambda: signed_in(place.get(cookie)))
        renewing.go.set()
    assert took < LEASE + 2


def test_process_killed_after_the_rotation_ends_the_session(place: Place) -> None:
    """If a process is killed after the backend has spent the refresh token, no other process knows
    the new token, and the backend rejects the old one. So the session ends."""
    (cookie,) = place.expired()
    renewing, site = Renewing(place, rotate=True), place.fleet.sites[1]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(burst, [(site.url + "/account", cookie)])
        assert renewing.come.wait(5)
        site.stop(signal.SIGKILL)
        place.backend.instead.clear()
        statuses: list[int] = []

        def ended() -> bool:
            answer = place.get(cookie)
            statuses.append(answer.status)
            return answer.status == 303 and "reason=RefreshTokenRejected" in answer.head

        took = eventually(ended)
        renewing.go.set()
    assert took < LEASE + 2
    assert set(statuses) <= {303, 503}


def test_process_killed_after_storing_the_successor_loses_nothing(place: Place) -> None:
    """If a process is killed after it has stored the successor, the browser gets no response. But
    the next request of the browser gets the successor."""
    (cookie,) = place.expired()
    site = place.fleet.sites[2]
    before = place.refreshes()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(burst, [(site.url + "/hold?once=1", cookie)])
        eventually(place.hold.exists)
        site.stop(signal.SIGKILL)
        assert signed_in(place.get(cookie))
    assert place.refreshes() == before + 1


def test_sign_out_is_known_to_every_process_at_once(place: Place) -> None:
    cookie = place.sign_in()
    first = place.fleet.sites[0]
    csrf = requests.get(first.url + "/session", headers={"Cookie": cookie}, timeout=5).json()[
        "csrf_token"
    ]
    answer = requests.post(
        first.url + "/logout",
        {"csrf_token": csrf},
        headers={"Cookie": cookie},
        allow_redirects=False,
        timeout=5,
    )
    assert answer.status_code == 303
    for site in place.fleet.sites:
        session = requests.get(site.url + "/session", headers={"Cookie": cookie}, timeout=5)
        assert session.json()["error"] == "SessionRevoked"


class Load:
    """Sends requests with some ``Cookie`` headers, again and again, while a ``with`` block runs."""

    def __init__(self, place: Place, cookies: list[str]) -> None:
        self.statuses: list[int] = []
        self._place, self._cookies, self._done = place, cookies, False

    def _run(self) -> None:
        while not self._done:
            answers = burst([(self._place.url + "/account", each) for each in self._cookies])
            self.statuses += [answer.status for answer in answers]

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done = True
        self._thread.join(60)


@pytest.mark.parametrize("how", ["stop", "pause", "flush"])
def test_redis_failure_under_load_causes_no_error_and_no_sign_out(place: Place, how: str) -> None:
    """While Redis is stopped or paused, or after it was emptied, no request gets an error. When
    Redis is up again, an expired session is renewed only once, without a restart of a process."""
    # The sessions stay fresh. Other tests cover access tokens that expire while Redis is down.
    place.django.set(access=300)
    cookies = [place.sign_in() for _ in range(8)]
    with Load(place, cookies) as load:
        eventually(lambda: len(load.statuses) > 16)
        {
            "stop": place.redis.stop,
            "pause": place.redis.pause,
            "flush": place.redis.client.flushall,
        }[how]()
        seen = len(load.statuses)
        eventually(lambda: len(load.statuses) > seen + 48)
        {"stop": place.redis.start, "pause": place.redis.go_on, "flush": lambda: None}[how]()
        seen = len(load.statuses)
        eventually(lambda: len(load.statuses) > seen + 16)
    assert set(load.statuses) == {200}
    for site in place.fleet.sites:
        eventually(
            lambda site=site: requests.get(site.url + "/health?deep=1", timeout=5).ok  # type: ignore[misc]
        )
    place.django.set(access=ACCESS)
    (cookie,) = place.expired()
    before = place.refreshes()
    answers = burst([(place.url + "/account", cookie)] * 40)
    assert all(signed_in(answer) for answer in answers)
    assert place.refreshes() == before + 1
