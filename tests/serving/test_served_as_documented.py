"""production.ini and the nginx configuration of docs/operations.md, almost unchanged, under
load."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from eventually import eventually
from fleet import Fleet
from load import burst
from servers import Served

WORKERS = 4


@pytest.fixture
def fleet(tmp_path: Path, backend: Served, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    changes = {
        "authapp.development": "true",
        "authapp.backend.url": backend.url,
        "authapp.backend.verify": f"jwks:{backend.url}/.well-known/jwks.json",
        "pyramid.includes": "slow_pages",
    }
    fleet = Fleet(
        tmp_path, changes, processes=request.param, ini="production.ini", workers=WORKERS, threads=8
    )
    yield fleet
    fleet.close()


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_a_burst_of_300_slow_pages_is_answered(fleet: Fleet) -> None:
    answers = burst([(f"{fleet.url}/tenth", "")] * 300)
    assert {answer.status for answer in answers} == {200}
    # nginx keeps its connections open, but the server still accepts other connections.
    assert requests.get(fleet.sites[0].url + "/health", timeout=10).ok
    # Requests have waited for a free thread. This is normal, and does not fill the log.
    assert "Serving on" in fleet.sites[0].log
    assert "Task queue depth" not in fleet.sites[0].log


@pytest.mark.parametrize("fleet", [2], indirect=True)
def test_no_request_fails_when_a_process_stops_under_steady_traffic(fleet: Fleet) -> None:
    stop = threading.Event()
    answers: list[int] = []

    def client() -> None:
        with requests.Session() as browser:
            while not stop.is_set():
                answers.append(browser.get(f"{fleet.url}/tenth", timeout=30).status_code)

    clients = [threading.Thread(target=client) for _ in range(24)]
    for each in clients:
        each.start()
    try:
        eventually(lambda: len(answers) > 100)
        leaving, staying = fleet.sites
        leaving.stop()  # waits ten seconds at most
        more = len(answers) + 100
        eventually(lambda: len(answers) > more)
    finally:
        stop.set()
        for each in clients:
            each.join()
    assert set(answers) == {200}
    assert "Stopped: 0 requests unfinished" in leaving.log
    assert staying.process.poll() is None


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_an_unfinished_request_body_does_not_delay_the_stop(fleet: Fleet) -> None:
    (site,) = fleet.sites
    go_on = threading.Event()
    with socket.create_connection(("127.0.0.1", site.port)) as slow:
        slow.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")

        def drip() -> None:
            while not go_on.wait(1):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            site.stop()
        finally:
            go_on.set()
            dripping.join()
    assert "Stopped: 0 requests unfinished" in site.log
