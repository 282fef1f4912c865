"""Failovers of Redis under load, with Sentinel and with a cluster: four processes behind nginx.

Some sessions stay fresh. The access tokens of the other sessions expire after some seconds, so
there are renewals all the time, also during a failover.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from webob import Request, Response

from eventually import eventually
from load import burst
from renewal.test_many_processes import NAME, Place
from servers import REFRESH, Served
from servers.redis_group import ClusterGroup, SentinelGroup
from servers.simplejwt_server import serve_django

pytestmark = pytest.mark.servers

GROUPS = {"sentinel": SentinelGroup, "cluster": ClusterGroup}

ACCESS = 6
"""The lifetime in seconds of the access tokens that expire during a test."""

AT_ONCE = 3
"""The number of simultaneous requests of a session. nginx sends them to different processes."""

PAUSE = {SentinelGroup: 0.2, ClusterGroup: 0.0}
"""The seconds between two rounds of requests. The cluster has no pause: with a pause, the test
would pass even if processes renewed without a lease."""


class Users:
    """Sends requests of some sessions while a ``with`` block runs.

    A session is a list with one item, its ``Cookie`` header. A renewal replaces the item.

    :param fresh: the number of sessions that stay fresh.
    :param expiring: the number of sessions whose access tokens expire.
    :param pause: the seconds between two rounds of requests.
    :ivar spent: refresh token -> how often the backend has received it.
    :ivar statuses: how many responses had each status: ``statuses[True]`` for the fresh sessions,
        ``statuses[False]`` for the others.
    """

    def __init__(self, place: Place, fresh: int, expiring: int, pause: float) -> None:
        self._place, self._over, self._pause = place, threading.Event(), pause
        self.spent: Counter[str] = Counter()
        self.statuses: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
        self.last_503 = 0.0
        place.backend.instead[REFRESH] = self._count
        place.django.set(access=300)
        self.signed_out = place.sign_in()
        self._fresh = [[place.sign_in()] for _ in range(fresh)]
        place.django.set(access=ACCESS)
        self._expiring = [[place.sign_in()] for _ in range(expiring)]

    def _count(self, request: Request) -> Response | None:
        self.spent[request.json_body["refresh"]] += 1
        return None

    def _browse(self, sessions: list[list[str]], fresh: bool) -> None:
        while not self._over.wait(self._pause):
            visits = [session for session in sessions for _ in range(AT_ONCE)]
            answers = burst([(self._place.url + "/account", cookie) for (cookie,) in visits])
            for session, answer in zip(visits, answers, strict=True):
                self.statuses[fresh][answer.status] += 1
                if answer.status == 503:
                    self.last_503 = time.monotonic()
                if answer.status == 200 and answer.cookie(NAME):
                    session[0] = f"{NAME}={answer.cookie(NAME)}"

    def __enter__(self) -> "Users":
        self._threads = [
            threading.Thread(target=self._browse, args=words)
            for words in ((self._fresh, True), (self._expiring, False))
        ]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(60)

    def sign_out(self) -> None:
        """Sign the session ``signed_out`` out, at the first process."""
        words: Any = {"headers": {"Cookie": self.signed_out}, "timeout": 5}
        url = self._place.fleet.sites[0].url
        csrf = requests.get(url + "/session", **words).json()["csrf_token"]
        form = {"csrf_token": csrf}
        assert requests.post(url + "/logout", form, allow_redirects=False, **words).ok

    def check(self) -> None:
        """Check that a failover has signed nobody out, and that no refresh token was spent
        twice."""
        assert set(self.statuses[True]) == {200}, "sessions that are fresh notice nothing"
        assert set(self.statuses[False]) <= {200, 503}, "nobody is signed out"
        assert max(self.spent.values()) == 1, "each refresh token is spent once"
        for session in self._fresh + self._expiring:
            eventually(lambda session=session: self._place.get(session[0]).status == 200, 20)  # type: ignore[misc]
        for site in self._place.fleet.sites:
            words: Any = {"headers": {"Cookie": self.signed_out}, "timeout": 5}
            session = requests.get(site.url + "/session", **words).json()
            assert session["error"] == "SessionRevoked"


def healthy(place: Place) -> bool:
    pages = [site.url + "/health?deep=1" for site in place.fleet.sites]
    return all(requests.get(page, timeout=5).ok for page in pages)


@pytest.fixture(scope="module", params=list(GROUPS))
def place(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[tuple[Any, Place]]:
    folder: Path = tmp_path_factory.mktemp("failover")
    group: Any = GROUPS[request.param](folder)
    django = serve_django(folder, ACCESS, 3600)
    with django as process, Served(process.forward) as backend:
        place = Place(folder, group, backend, process)
        yield group, place
        place.fleet.close()
    group.close()


def test_r11_a_failover_spends_no_token_twice_and_signs_nobody_out(
    place: tuple[Any, Place],
) -> None:
    """Threat R11. If the primary of Redis is killed under load, no refresh token is spent twice,
    and no user is signed out. If an access token expires while there is no primary, the requests of
    its session get 503 until there is a new primary."""
    group, here = place
    users = Users(here, fresh=4, expiring=8, pause=PAUSE[type(group)])
    with users:
        eventually(lambda: users.spent.total() > 8, 30)
        users.sign_out()
        killed, before = group.a_primary(), dict(users.statuses[False])
        began = time.monotonic()
        killed.kill()
        eventually(lambda: group.has_replaced(killed), 60)
        replaced = time.monotonic() - began
        eventually(lambda: healthy(here), 60)
        spent = users.spent.total()
        eventually(lambda: users.spent.total() > spent + 12, 60)
    users.check()
    waited = max(0.0, users.last_503 - began)
    print(
        f"replaced after {replaced:.1f} s, the last 503 after {waited:.1f} s,"
        f" {users.spent.total()} tokens spent,"
        f" fresh sessions: {dict(users.statuses[True])},"
        f" sessions that expire: {before} before, {dict(users.statuses[False])} in all"
    )
    killed.start()
