"""Simulate a day of a user with five devices, two applications and one Redis.

The devices use the site, poll, prefetch, sign in and out, end each other's sessions, sign in again
for a page that needs it, and close their browsers. Redis is emptied twice. The second time, both
applications are restarted too. At each step an oracle (a model) knows who is signed in, why a
session has ended, and which sessions the user sees in the list.

Everything happens at multiples of :data:`GRID` seconds after the start. The limits of a session lie
half a step beside these times, so the oracle needs no tolerance.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import time_machine
from pyramid.config import Configurator

from eventually import eventually
from servers import Served
from servers.redis_server import RedisServer
from site_under_test import COOKIE, Site, add_view, application

START = 1_900_000_200
GRID = 360
"""The seconds between two steps. They are more than a tenth of :data:`IDLE`, so each use of a
session is recorded."""

STEPS = 240
IDLE, ABSOLUTE, RECENT = 3600 - GRID // 2, 10_800 - GRID // 2, 5400 - GRID // 2
EMPTIED, RESTARTED = STEPS // 3, 2 * STEPS // 3
SEED = 7
HTML = {"Accept": "text/html"}
BACKGROUND = {"X-Authapp-Background": "1"}
PREFETCH = {"Sec-Purpose": "prefetch"}


@dataclass
class Life:
    """A session as the oracle knows it.

    :ivar listed: False if the list of sessions may leave the session out. After the restart,
        neither Redis nor an application knows the session until it is used or renewed.
    """

    id: str
    signed_in: float
    used: float
    remembered: bool
    revoked: bool = False
    listed: bool = True

    def end(self, now: float) -> str | None:
        """Return the error code of a session that has ended, or None if it has not ended."""
        if self.revoked:
            return "SessionRevoked"
        if now >= self.signed_in + ABSOLUTE:
            return "RefreshTokenExpired"
        return "SessionIdle" if now >= self.used + IDLE else None


@dataclass
class Device:
    """A browser of the user, and the session of its cookie.

    :ivar away_until: the time until which nobody uses the device. Its open page may poll meanwhile.
    """

    name: str
    site: Site
    life: Life | None = None
    away_until: float = 0


@dataclass
class Day:
    """The user, the devices, the applications and the oracle."""

    start: Callable[[], list[Site]]
    chance: random.Random
    apps: list[Site] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def at(self, device: Device) -> Site:
        """Return the device's browser at one of the applications, which is chosen at random."""
        site = Site(wsgi=self.chance.choice(self.apps).app)
        site.cookiejar = device.site.cookiejar
        site.extra_environ["HTTP_USER_AGENT"] = device.name
        return site

    # What the devices do. Each method compares the answer with the oracle.

    def look(self, device: Device, headers: dict[str, str]) -> bool:
        """Request ``/session``, and compare the response with the oracle. Return True if the user
        is signed in."""
        now, site = time.time(), self.at(device)
        life, device_life = device.life, device.life and device.life.end(now)
        if life and life.revoked and COOKIE in site.cookies:
            # The applications tell each other of a sign-out within some milliseconds.
            session = site.opened()
            eventually(lambda: site.services.revocation.known_revoked(session))
        answer = site.get("/session", headers=headers).json
        if life is None or device_life is not None:
            # A browser does not send a cookie whose Max-Age is over.
            gone = life is not None and life.remembered and device_life == "RefreshTokenExpired"
            assert answer["user"] is None, (device, now)
            assert answer["error"] == (None if gone else device_life), (device, now)
            self.seen[str(device_life)] += 1
            device.life = None
            assert COOKIE not in device.site.cookies
            return False
        assert answer["user"], (device, now, answer)
        if not headers:
            life.used, life.listed = now, True
        self.seen["signed in"] += 1
        return True

    def sign_in(self, device: Device) -> None:
        site, now = self.at(device), time.time()
        form = site.get("/login").form
        remembered = form["remember"].checked = self.chance.random() < 0.5
        form["username"], form["password"] = "alice", "alice-password"
        form.submit(status=303)
        device.life = Life(site.opened().digest, now, now, remembered)
        self.lives.append(device.life)

    def sign_out(self, device: Device, everywhere: bool) -> None:
        assert device.life
        self.at(device).sign_out(everywhere)
        for life in self.lives if everywhere else [device.life]:
            life.revoked = True
        device.life = None
        self.seen["sign out"] += 1

    def end_one(self, device: Device) -> None:
        assert device.life
        site, now = self.at(device), time.time()
        life = self.chance.choice(
            [each for each in self.lives if each is not device.life] or [None]
        )
        if life is None:
            return
        headers = {"X-CSRF-Token": site.csrf()}
        self.list(device)
        known = life.end(now) is None and life.listed
        site.delete(f"/sessions/{life.id}", headers=headers, status=204 if known else 404)
        life.revoked = life.revoked or known
        self.seen["end one"] += known

    def end_others(self, device: Device) -> None:
        site = self.at(device)
        site.post("/account/sessions", {"csrf_token": site.csrf(), "others": "1"}, status=303)
        for life in self.lives:
            life.revoked = life.revoked or life is not device.life
        self.seen["end others"] += 1

    def pay(self, device: Device) -> None:
        """Open a page that needs a recent sign-in. Sign in again if the page asks for it."""
        assert device.life
        site, now = self.at(device), time.time()
        recent = now - device.life.signed_in <= RECENT
        answer = site.get("/view", headers=HTML, status=200 if recent else 303)
        if not recent:
            page = site.get(answer.location)
            form = next(each for each in page.forms.values() if "username" in each.fields)
            form["username"], form["password"] = "alice", "alice-password"
            assert form.submit(status=303).location == "/view"
            site.get("/view", headers=HTML, status=200)
            assert site.opened().digest == device.life.id
            device.life.signed_in = now
            self.seen["signed in again"] += 1

    def close_browser(self, device: Device) -> None:
        """Close the browser, which deletes cookies without Max-Age. This ends no session at the
        server."""
        device.site.cookiejar.clear_session_cookies()
        if device.life and not device.life.remembered:
            device.life = None
        self.seen["closed"] += 1

    def list(self, device: Device) -> None:
        assert device.life
        now = time.time()
        found = self.at(device).get("/sessions").json["sessions"]
        expected = {each.id: each for each in self.lives if each.end(now) is None}
        ids = {each["id"] for each in found}
        assert ids <= set(expected), (device, now)
        assert all(each.id in ids for each in expected.values() if each.listed), (device, now)
        assert [each["id"] for each in found if each["current"]] == [device.life.id]
        for each in found:
            life = expected[each["id"]]
            life.listed = True
            assert each["last_seen_at"] == life.used
            # A sign-in just after a sign-out of others has a time up to a minute later.
            assert 0 <= each["signed_in_at"] - life.signed_in <= 61

    # Redis.

    def settle(self) -> None:
        for site in self.apps:
            ask = partial(site.get, "/health?deep=1", status="*")
            eventually(lambda ask=ask: ask().json["shared"] == "ok")

    def restart(self, empty: Callable[[], object]) -> None:
        """Empty Redis and restart both applications. Then nothing at the server knows earlier
        sessions.

        Before that, each device requests ``/session`` once, and loses the cookie of a revoked
        session. Without its revocation in Redis, this cookie would be valid again.
        """
        for device in self.devices:
            self.look(device, BACKGROUND)
        self.close()
        empty()
        self.apps = self.start()
        holders = [device.life for device in self.devices]
        for life in self.lives:
            life.listed = False
            life.revoked = life.revoked or life not in holders

    def close(self) -> None:
        for site in self.apps:
            notices = site.services.store._notices
            threads = notices.thread, site.services.store._resync.thread
            notices.thread = None
            for thread in filter(None, threads):
                # These threads would write what this process knows to the new Redis.
                eventually(lambda thread=thread: not thread.is_alive(), 60)
            site.services.store._connection.client.connection_pool.disconnect()
            site.services.http.close()

    def act(self, device: Device) -> None:
        """Let a device do something at random."""
        now = time.time()
        if now < device.away_until:
            if self.chance.random() < 0.3:
                self.look(device, self.chance.choice([BACKGROUND, PREFETCH]))
            return
        if self.chance.random() < 0.08:
            device.away_until = now + GRID * self.chance.randint(4, 14)
            return
        headers = self.chance.choices([{}, BACKGROUND, PREFETCH], [6, 2, 1])[0]
        if not self.look(device, headers):
            if self.chance.random() < 0.6:
                self.sign_in(device)
        elif not headers:
            actions: list[Callable[[Device], None]] = [
                self.list,
                self.pay,
                self.end_one,
                self.end_others,
                self.close_browser,
                lambda device: self.sign_out(device, False),
                lambda device: self.sign_out(device, True),
            ]
            weights = [40, 4, 4, 1, 4, 4, 1]
            if self.chance.random() < 0.3:
                self.chance.choices(actions, weights)[0](device)


def test_five_devices_for_a_day_with_redis_emptied_twice(
    backend: Served, redis_server: RedisServer
) -> None:
    def pages(config: Configurator) -> None:
        add_view(config, lambda request: {}, recent_auth=RECENT)

    def start() -> list[Site]:
        settings = {
            "shared": redis_server.url,
            "session__idle": str(IDLE),
            "session__absolute": str(ABSOLUTE),
            "session__remember": "ask",
        }
        return [application(backend.url, pages, **settings) for _ in range(2)]

    day = Day(start, random.Random(SEED), start())
    names = ("Firefox/128.0", "Chrome/126.0.0.0", "curl/8.5.0", "", "Safari/17.5")
    day.devices = [Device(name, Site(wsgi=day.apps[0].app)) for name in names]
    with time_machine.travel(START, tick=False) as clock:
        for step in range(STEPS):
            clock.shift(GRID)
            if step == EMPTIED:
                redis_server.client.flushall()
                day.settle()
            if step == RESTARTED:
                day.restart(redis_server.client.flushall)
            for device in day.chance.sample(day.devices, len(day.devices)):
                day.act(device)
            reader = next((each for each in day.devices if each.life), None)
            if reader and day.look(reader, {}):
                day.list(reader)
        day.close()
    print(sorted(day.seen.items()))
    happened = {
        "SessionIdle",
        "SessionRevoked",
        "RefreshTokenExpired",
        "signed in again",
        "end one",
        "end others",
        "closed",
    }
    assert happened <= set(day.seen)
    assert len(redis_server.keys()) < 500
