"""Simulate half an hour of 200 users with several tabs, two applications and one Redis.

Each step moves the wall clock by a minute. Redis uses the real clock, so its entries do not expire
during the test. Faults happen at random during a step, with a fixed seed. At each step an oracle (a
model) knows which users must be signed in.

While Redis is down, each user stays on one application (``ip_hash``: see docs/operations.md). If a
user used both applications, both could send the same refresh token to the backend. A sign-out
everywhere at one application could also end a later sign-in at the other one.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from typing import Any

import pytest
import time_machine

from authapp.issuer import main as issuer
from eventually import eventually
from servers import ISSUER_SETTINGS, Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site
from whole.town import (
    AT_ONCE,
    BACKEND_FAULTS,
    PEOPLE,
    REDIS_FAULTS,
    WELL,
    Copy,
    FaultyTown,
    Person,
    Seen,
)

TABS, STEPS, STEP = 3, 30, 61
ACCESS = 300
SEED = 186
"""The seed of the random faults. With this seed, every kind of fault happens."""


def deck(generator: random.Random, cards: Any) -> Iterator[Any]:
    """Yield cards in a random order, without end. Each card comes equally often."""
    while True:
        yield from generator.sample(list(cards), len(cards))


class Town(FaultyTown):
    """The users and what they do, and the oracle that judges each response."""

    # Actions of users.

    def tab(self, person: Person, jar: CookieJar | None = None) -> Site:
        """Return a tab of a user's browser, on one of the applications."""
        app = person.home if self.sticky else self.random.randrange(2)
        site = Site(wsgi=self.apps[app].app)
        site.cookiejar = person.jar if jar is None else jar
        return site

    def visit(self, person: Person, tab: Site, path: str) -> Seen:
        accept = "application/json" if path == "/session" else "text/html"
        answer = tab.get(path, headers={"Accept": accept}, expect_errors=True)
        return Seen(person, path, answer)

    def sign_in(self, person: Person, tab: Site) -> Seen:
        answer = tab.sign_in(person.name, "password", expect_errors=True)
        if answer.status_int == 303:
            person.csrf = tab.csrf()
        return Seen(person, "sign in", answer)

    def sign_out(self, person: Person, tab: Site, everywhere: bool) -> Seen:
        fields = {"csrf_token": person.csrf} | ({"everywhere": "1"} if everywhere else {})
        return Seen(person, "sign out", tab.post("/logout", fields, expect_errors=True))

    def at_once(self, requests: list[Callable[[], Any]]) -> list[Any]:
        """Send requests. :data:`AT_ONCE` requests at a time start together."""
        results: list[Any] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for at in range(0, len(requests), AT_ONCE):
                together = requests[at : at + AT_ONCE]
                barrier = threading.Barrier(len(together))

                def go(request: Callable[[], Any], barrier: threading.Barrier = barrier) -> Any:
                    barrier.wait()
                    return request()

                results += pool.map(go, together)
        return results

    # One step.

    def live(self, step: int, changes: list[Callable[[], None]]) -> None:
        """Do a step: let half of the users act while faults begin and end, and check the
        results."""
        # Random choices must not depend on timing.
        self.random = random.Random(step)
        in_trouble, began = self.in_trouble(), time.monotonic()
        some = self.random.sample(self.people, PEOPLE // 2)
        moods = {each.name: self.random.random() for each in some}
        arriving = [each for each in some if not each.signed_in and moods[each.name] < 0.9]
        leaving = [each for each in some if each.signed_in and moods[each.name] < 0.06]
        kept = {each.name: each.cookie() for each in leaving}
        left_from: dict[str, int] = {}
        requests: list[Callable[[], Any]] = list(changes)
        lost: list[Person] = []
        for person in some:
            self.random = random.Random(f"{step} {person.name}")
            if person in arriving:
                tab = self.tab(person)
                requests.append(lambda p=person, t=tab: self.sign_in(p, t))  # type: ignore[misc]
                continue
            for _ in range(self.random.randint(1, TABS)):
                tab, path = self.tab(person), self.random.choice(["/", "/account", "/session"])
                requests.append(lambda p=person, t=tab, w=path: self.visit(p, t, w))  # type: ignore[misc]
            if person in leaving:
                tab, everywhere = self.tab(person), self.random.random() < 0.3
                left_from[person.name] = [each.app for each in self.apps].index(tab.app)
                requests.append(lambda p=person, t=tab, e=everywhere: self.sign_out(p, t, e))  # type: ignore[misc]
            elif not self.sticky and self.random.random() < 0.1:
                # The response of this request is lost, with the cookie that it sets.
                jar = CookieJar()
                for cookie in person.jar:
                    jar.set_cookie(cookie)
                tab = self.tab(person, jar)
                requests.append(lambda p=person, t=tab: self.visit(p, t, "/account"))  # type: ignore[misc]
                lost.append(person)
        results = self.at_once(requests)
        # On a busy machine the fault may be over before the step ends.
        in_trouble |= self.in_trouble() or self.trouble_until > began
        self.paused_in_trouble |= self.redis_fault == "paused" and in_trouble
        for seen in (each for each in results if each is not None):
            self.judge(seen, in_trouble, seen.person in leaving)
        for person in leaving:
            person.signed_in = False
            app = left_from[person.name]
            copies = {kept[person.name], person.cookie()} - {None}
            self.copies += [Copy(person, str(each), app, not self.sticky) for each in copies]
            # A late response may have set the cookie again. This cookie must be invalid.
            site = Site(wsgi=self.apps[app].app)
            site.cookiejar = person.jar
            self.judge(self.visit(person, site, "/account"), in_trouble, False)
        for person in lost:
            self.judge(self.visit(person, self.tab(person), "/account"), in_trouble, False)
        self.look_at_copies()
        for person in self.people:
            assert (person.cookie() is not None) is person.signed_in, person.name
        assert len(set(self.spent)) == len(self.spent), "each refresh token is spent once"

    def judge(self, seen: Seen, in_trouble: bool, leaving: bool) -> None:
        """Check that the oracle allows a response.

        :param in_trouble: True if the response may be 503.
        :param leaving: True if the user signs out in this step.
        """
        person, path, answer = seen
        status, where = answer.status_int, answer.location or ""
        told = f"{path} for {person.name}: {answer.status} {where}"
        names = {each.name for each in self.people if each.name in answer.text}
        assert "eyJ" not in answer.text, "the beginning of a JWT"
        assert names <= {person.name}, told
        if path == "sign in":
            # A 429 of the backend is passed on (contract section 7, login.throttled).
            assert status == 303 or (status in (429, 503) and in_trouble), told
            person.signed_in = status == 303
        elif path == "sign out":
            assert (status, where) == (303, "/login?reason=SignedOut"), told
        elif person.name in names:  # the page of a kept session names the user too
            assert person.signed_in, told
            assert status == 200 or (status, in_trouble) == (503, True), told
        elif status == 303:
            assert path != "/session", told
            assert where.startswith("/login?next="), told
            assert leaving or not person.signed_in, told
        elif path == "/account":
            assert (status, in_trouble, person.signed_in) == (503, True, True), told
        else:
            assert status == 200, told
            assert leaving or not person.signed_in or in_trouble, told
        self.seen[f"{path} {status} {'signed in' if person.name in names else ''}"] += 1

    def look_at_copies(self) -> None:
        """Check that copies of cookies of revoked sessions are refused.

        The application of the sign-out must refuse them at once. The other application must refuse
        them if the revocation is in Redis.
        """
        for each in self.random.sample(self.copies, min(6, len(self.copies))):
            for number, site in enumerate(self.apps):
                if number == each.app or (each.known_to_all and not self.sticky):
                    headers = {"Cookie": f"{COOKIE}={each.cookie}"}
                    stranger = Site(wsgi=site.app)
                    answer = stranger.get("/session", headers=headers).json
                    assert answer["user"] is None, each.owner.name
                    assert answer["error"] == "SessionRevoked"
                    self.seen["copies refused"] += 1


@pytest.fixture
def backend() -> Iterator[Served]:
    names = ["scout", *(f"user{n:03}" for n in range(PEOPLE))]
    users = "\n".join(f"{name} password {name}@example.com" for name in names)
    changed = {"issuer.users": users, "issuer.access_lifetime": str(ACCESS)}
    with Served(issuer({}, **{**ISSUER_SETTINGS, **changed})) as served:
        yield served


def test_200_users_with_random_faults_for_half_an_hour(
    backend: Served, redis_server: RedisServer
) -> None:
    threads = set(threading.enumerate())
    town = Town(backend, redis_server)
    fate = random.Random(SEED)
    backend_faults, redis_faults = (deck(fate, cards) for cards in (BACKEND_FAULTS, REDIS_FAULTS))
    had: Counter[str] = Counter()
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        for person in town.people:
            town.judge(town.sign_in(person, town.tab(person)), False, False)
        for step in range(STEPS):
            clock.shift(STEP)
            changes: list[Callable[[], None]] = []
            before = town.redis_fault
            if town.backend_fault in ("", WELL):
                town.recover()
            if fate.random() < (0.8 if town.backend_fault else 0.45):
                fault = "" if town.backend_fault else next(backend_faults)
                had[fault] += 1
                changes.append(lambda fault=fault: town.change_backend(fault))  # type: ignore[misc]
            if fate.random() < (0.7 if before else 0.4):
                fault = "" if before else next(redis_faults)
                had[fault] += 1
                town.sticky = True
                changes.append(lambda fault=fault: town.change_redis(fault))  # type: ignore[misc]
            town.live(step, changes)
            if town.sticky:
                town.settle(before)
        # All faults are over, and every user is signed in or out as the oracle expects.
        town.change_backend("")
        if town.redis_fault:
            before = town.redis_fault
            town.change_redis("")
            town.settle(before)
        town.recover()
        for person in town.people:
            for site in town.apps:
                tab = Site(wsgi=site.app)
                tab.cookiejar = person.jar
                town.judge(town.visit(person, tab, "/account"), False, False)
        assert len(set(town.spent)) == len(town.spent)
        town.close()
    print(f"{sorted(town.seen.items())}; {sorted(had.items())}; {len(town.spent)} renewals")
    assert set(had) == {"", *BACKEND_FAULTS, *REDIS_FAULTS}
    keys = redis_server.keys()
    assert all(redis_server.client.pttl(key) != -1 for key in keys), "every key expires"
    assert len(keys) <= 2 * len(town.spent) + 3 * len(town.copies) + 10
    # The daemon thread that receives notices ends when nobody has used the site for a while.
    heard = {each for each in threading.enumerate() if each.name == "authapp notices"}
    eventually(lambda: not set(threading.enumerate()) - threads - heard)
