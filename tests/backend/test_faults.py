"""Users stay signed in while the backend has faults (promise 2).

The site has only four threads, so that a few hanging requests could block them all.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from webob import Response

from authapp.issuer import main as issuer
from load import burst, percentile
from served_site import ServedSite
from servers import ISSUER_SETTINGS, LOGIN, REFRESH, Served

pytestmark = pytest.mark.servers

NAME = "authapp.session"
KEYS = "/.well-known/jwks.json"
ACCESS = 2


def sign_in(url: str) -> str | None:
    """Sign alice in. Return the value of the session cookie, or None if the sign-in failed."""
    with requests.Session() as browser:
        page = browser.get(url + "/login", timeout=20).text
        csrf = re.search('name="csrf_token" value="([^"]+)', page)
        assert csrf
        form = {"username": "alice", "password": "alice-password", "csrf_token": csrf[1]}
        browser.post(url + "/login", form, timeout=40)
        return browser.cookies.get(NAME)


class Deployment:
    """A site with one process and twenty sessions. All access tokens have expired at the time
    ``over``."""

    def __init__(self, folder: Path, backend: Served) -> None:
        self.backend = backend
        self.site = ServedSite(
            folder,
            {
                "authapp.backend.url": backend.url,
                "authapp.backend.verify": f"jwks:{backend.url}{KEYS}",
                "authapp.backend.timeout": "2",
            },
        )
        self.url = self.site.url
        self.cookies = [f"{NAME}={sign_in(self.url)}" for _ in range(20)]
        self.over = time.time() + ACCESS + 1


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    settings = {**ISSUER_SETTINGS, "issuer.access_lifetime": str(ACCESS)}
    with Served(issuer({}, **settings)) as backend:
        deployment = Deployment(tmp_path_factory.mktemp("faults"), backend)
        yield deployment
        deployment.site.stop()


def response_in_pieces(piece: bytes, count: int, pause: float) -> Callable[[Any], Response]:
    """Return a view that sends its response in pieces, with a pause after each piece."""

    def body() -> Iterator[bytes]:
        for _ in range(count):
            yield piece
            time.sleep(pause)

    return lambda request: Response(app_iter=body(), content_length=len(piece) * count)


def hang(request: Any) -> Response:
    time.sleep(4)
    return Response(status=500)


FAULTS: dict[str, Any] = {
    "hangs": hang,
    "500": Response(status=500),
    "503": Response(status=503),
    "429 with Retry-After": Response(status=429, headers={"Retry-After": "1"}, json_body={}),
    "HTML": Response("<h1>Welcome</h1>"),
    "half a body": Response(b'{"access": "', content_type="application/json"),
    "100 MB": response_in_pieces(b" " * 1_000_000, 100, 0),
    "one byte a second": response_in_pieces(b" ", 100, 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_public_pages_are_served_and_sessions_are_kept_during_a_fault(
    deployment: Deployment, fault: str
) -> None:
    while time.time() < deployment.over:
        time.sleep(0.02)
    before = deployment.backend.calls[REFRESH]
    deployment.backend.instead[REFRESH] = FAULTS[fault]
    waiting = [(deployment.url + "/account", cookie) for cookie in deployment.cookies * 2]
    public = [(deployment.url + "/", "") for _ in range(10)]
    began = time.monotonic()
    # The forty requests that need the backend are sent first, then those for public pages.
    answers = burst([*waiting, *public])
    accounts, pages = answers[:40], answers[40:]
    assert {answer.status for answer in pages} == {200}
    assert {answer.status for answer in accounts} == {503}
    assert all("Set-Cookie: authapp.session" not in answer.head for answer in accounts)
    assert all("Retry-After: " in answer.head for answer in accounts)
    # Once the backend is known to be down, every request gets a response immediately.
    answers = burst([*waiting, *public])
    assert {answer.status for answer in answers[40:]} == {200}
    print(
        f"{fault}: public pages {percentile(pages, 1):.2f} s, {percentile(answers[40:], 1):.2f} s"
    )
    calls = deployment.backend.calls[REFRESH] - before
    # At most one call for each session, and four probes a second once the backend is down.
    assert calls <= 20 + 4 * (time.monotonic() - began)

    deployment.backend.instead.clear()
    gone = time.monotonic()
    while burst([(deployment.url + "/account", deployment.cookies[0])])[0].status != 200:
        assert time.monotonic() - gone < 10
        time.sleep(0.02)
    print(f"{fault}: back after {time.monotonic() - gone:.2f} s")
    # The other sessions are renewed too. Each session uses its refresh token once.
    deployment.cookies = [
        f"{NAME}={answer.cookie(NAME)}" if answer.cookie(NAME) else cookie
        for answer, cookie in zip(
            burst([(deployment.url + "/account", cookie) for cookie in deployment.cookies]),
            deployment.cookies,
            strict=True,
        )
    ]
    deployment.over = time.time() + ACCESS + 1


@pytest.mark.parametrize("path", [LOGIN, KEYS])
def test_o2_public_pages_are_served_while_sign_ins_hang(tmp_path: Path, path: str) -> None:
    """Threat O2. Public pages are served while six sign-ins wait for the login endpoint or the key
    set."""
    come, go = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        come.set()
        assert go.wait(30)

    with Served(issuer({}, **ISSUER_SETTINGS)) as backend:
        backend.instead[path] = wait
        ini = {
            "authapp.backend.url": backend.url,
            "authapp.backend.verify": f"jwks:{backend.url}{KEYS}",
            "authapp.backend.timeout": "30",
        }
        site = ServedSite(tmp_path, ini)
        with ThreadPoolExecutor(6) as pool:
            signing_in = [pool.submit(sign_in, site.url) for _ in range(6)]
            assert come.wait(20)
            for _ in range(3):
                assert requests.get(site.url + "/", timeout=20).status_code == 200
            assert not all(each.done() for each in signing_in), (
                "some sign-ins still wait for the backend"
            )
            go.set()
            assert any(each.result(20) for each in signing_in)
        assert backend.calls[KEYS] == 1
        assert backend.calls[LOGIN] <= 6
        site.stop()


def test_sessions_are_renewed_after_the_backends_port_reopens(tmp_path: Path) -> None:
    """The backend refuses connections for a time, because its port is closed. When the port is open
    again, all sessions are renewed."""
    application = issuer({}, **{**ISSUER_SETTINGS, "issuer.access_lifetime": str(ACCESS)})
    with Served(application) as backend:
        deployment = Deployment(tmp_path, backend)
    while time.time() < deployment.over:
        time.sleep(0.02)
    everybody = [(deployment.url + "/account", cookie) for cookie in deployment.cookies]
    for _ in range(2):
        answers = burst([*everybody, (deployment.url + "/", "")])
        assert [answer.status for answer in answers] == [503] * 20 + [200]
    with Served(application, int(backend.url.rpartition(":")[2])) as again:
        gone = time.monotonic()
        while burst(everybody[:1])[0].status != 200:
            assert time.monotonic() - gone < 10
            time.sleep(0.02)
        assert {answer.status for answer in burst(everybody)} == {200}
        assert again.calls[REFRESH] == 20, "each refresh token is used once"
    deployment.site.stop()
