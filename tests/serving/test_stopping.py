"""Before a process stops, it shares its data with other processes: it waits for a late response,
and writes a pending sign-out to Redis."""

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests

from authapp.session.encryption import Sealer
from authapp.session.session import Identity, Session, TokenPair, Validity
from authapp.store.resync import FLUSH_ON_SHUTDOWN
from eventually import eventually
from served_site import ServedSite
from servers import LOGIN, REFRESH, Served
from servers.redis_server import RedisServer, patient
from site_under_test import COOKIE, SECRET

HTML = {"Accept": "text/html"}


@pytest.fixture
def served(tmp_path: Path, backend: Served, redis_server: RedisServer) -> Iterator[ServedSite]:
    changes = {
        "authapp.secret": SECRET,
        "authapp.backend.url": backend.url,
        "authapp.backend.verify": f"jwks:{backend.url}/.well-known/jwks.json",
        "authapp.backend.timeout": "0.5",
        "authapp.shared": patient(redis_server.url),
    }
    site = ServedSite(tmp_path, changes)
    yield site
    if site.process.poll() is None:
        site.stop(signal.SIGKILL)


def session_of(backend: Served) -> Session:
    """Sign in as alice directly at the backend. Return a session with the backend's tokens."""
    form = {"username": "alice", "password": "alice-password"}
    tokens = requests.post(backend.url + LOGIN, json=form, timeout=5).json()
    now = int(time.time())
    pair, validity = TokenPair(tokens["access"], tokens["refresh"]), Validity(now + 900, now + 9999)
    return Session.start(Identity(1), pair, validity, now)


def cookie_of(session: Session) -> dict[str, str]:
    return {COOKIE: Sealer([SECRET.encode()], "next-auth-4", COOKIE).seal(session)}


def visit(site: ServedSite, cookie: dict[str, str]) -> requests.Response:
    return requests.get(
        f"{site.url}/account", cookies=cookie, headers=HTML, timeout=10, allow_redirects=False
    )


def begin_stop(site: ServedSite) -> None:
    site.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Stopped: 0 requests unfinished" in site.log)
    assert site.process.poll() is None, "the process still has work to do"


def test_a_process_that_stops_waits_for_a_late_response(
    served: ServedSite, backend: Served
) -> None:
    fresh = session_of(backend)
    over = Validity(int(time.time()) - 1, fresh.validity.refresh_until)
    cookie = cookie_of(replace(fresh, validity=over))
    go = Event()

    def late(request: Any) -> None:
        go.wait(20)

    backend.instead[REFRESH] = late
    assert visit(served, cookie).status_code == 503
    begin_stop(served)
    go.set()
    assert served.process.wait(10) == 0
    served.start()
    assert visit(served, cookie).status_code == 200
    assert backend.calls[REFRESH] == 1


@pytest.mark.parametrize("back", [True, False], ids=["redis is up in time", "redis stays down"])
def test_a_process_that_stops_writes_a_pending_sign_out(
    served: ServedSite, backend: Served, redis_server: RedisServer, back: bool
) -> None:
    cookie = cookie_of(session_of(backend))
    csrf = re.search('name="csrf_token" value="([^"]+)', visit(served, cookie).text)
    assert csrf
    redis_server.stop()
    answer = requests.post(
        f"{served.url}/logout",
        {"csrf_token": csrf[1]},
        cookies=cookie,
        timeout=10,
        allow_redirects=False,
    )
    assert answer.headers["Location"].endswith("reason=SignedOut")
    begin_stop(served)
    if back:
        redis_server.start()
    assert served.process.wait(FLUSH_ON_SHUTDOWN + 7) == 0
    if back:
        served.start()
        assert "reason=SessionRevoked" in visit(served, cookie).headers["Location"]
