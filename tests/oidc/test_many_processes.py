"""Sessions from a provider, at four processes behind nginx that share one Redis."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from webob import Request, Response

from eventually import eventually
from fleet import Fleet
from load import burst
from servers import Served
from servers.oidc import CLIENT_ID, CLIENT_SECRET, Provider, signed
from servers.redis_server import RedisServer, patient

NAME = "authapp.session"
ACCESS = 4


class Place:
    """The provider and four processes of the site, which all tests of this module share."""

    def __init__(self, folder: Path, redis: RedisServer, provider: Provider, served: Served):
        self.provider, self.served = provider, served
        self.fleet = Fleet(
            folder,
            {
                "authapp.backend.url": "",
                "authapp.backend.verify": "",
                "authapp.shared": patient(redis.url),
                "authapp.backend.timeout": "8",
                "authapp.oidc.issuer": served.url,
                "authapp.oidc.client_id": CLIENT_ID,
                "authapp.oidc.client_secret": CLIENT_SECRET,
            },
        )
        self.url = self.fleet.url

    def sign_in(self) -> str:
        """Sign in through nginx, at any of the processes. Return the ``Cookie`` header."""
        with requests.Session() as browser:
            url = f"{self.url}/account"
            for _ in range(6):
                response = browser.get(url, allow_redirects=False, timeout=10)
                if response.status_code == 200:
                    assert "alice@example.com" in response.text
                    return f"{NAME}={browser.cookies[NAME]}"
                url = urljoin(url, response.headers["Location"])
        raise AssertionError(response.text)

    def statuses(self, cookie: str, times: int) -> list[int]:
        answers = burst([(self.url + "/account", cookie)] * times)
        return [answer.status for answer in answers]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("fleet")
    redis, provider = RedisServer(folder), Provider(access_lifetime=ACCESS)
    with Served(provider) as served:
        provider.url = served.url
        place = Place(folder, redis, provider, served)
        yield place
        place.fleet.close()
    redis.close()


def test_400_requests_with_one_expired_session_make_one_token_request(place: Place) -> None:
    cookie = place.sign_in()
    over = time.time() + ACCESS + 1
    place.provider.access_lifetime = 300
    while time.time() < over:
        time.sleep(0.05)
    before = place.served.calls["/token"]

    def slow(request: Request) -> Response:
        time.sleep(0.1)
        return request.get_response(place.provider)

    place.served.instead["/token"] = slow
    assert place.statuses(cookie, 400) == [200] * 400
    assert place.served.calls["/token"] - before == 1


def test_a_sign_out_by_the_provider_holds_in_every_process(place: Place) -> None:
    cookie = place.sign_in()
    assert place.statuses(cookie, 8) == [200] * 8
    token = signed(place.provider.logout_token())
    answers = [
        requests.post(f"{site.url}/logout/backchannel", {"logout_token": token}, timeout=5)
        for site in place.fleet.sites
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 400], "each token once"
    # The other processes are told, within a fraction of a second.
    eventually(lambda: place.statuses(cookie, 40) == [303] * 40)
    assert place.statuses(cookie, 40) == [303] * 40, "and it holds"
