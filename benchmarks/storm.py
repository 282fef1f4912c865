"""400 simultaneous requests with one expired session. The backend takes 100 ms to renew it.

The row "renewed per request" is a site without authapp. Each of its requests renews the session:
the first request spends the refresh token, and the backend refuses all others. This site is
measured last, and only once. The other sites are measured in several rounds.

The ratio compares, within a round, the p99 with an expired session to the p99 with a fresh session.
"""

import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import requests

from authapp.issuer import main as issuer
from authapp.session.session import Session, Validity
from benchmarks.rounds import Target, ratio, spread, table
from benchmarks.samples import session
from benchmarks.serving import ServedPage, cookie_of
from load import Answer, burst, percentile
from servers import ISSUER_SETTINGS, LOGIN, REFRESH, Served
from servers.redis_server import RedisServer

TITLE = "Storm"
ROUNDS = 5
REQUESTS = 400
REFRESH_TIME = 0.1
TOLERANCE = 0.1


class Storm:
    """One kind of site, in one or more processes, and the results of its bursts of requests."""

    def __init__(self, backend: Served, sites: Sequence[ServedPage]) -> None:
        self._backend, self._sites = backend, sites
        self.calls: list[int] = []
        self.lost: list[int] = []
        self.fresh: list[list[Answer]] = []
        self.expired: list[list[Answer]] = []

    def _burst(self, session: Session) -> list[Answer]:
        cookie = cookie_of(session)
        urls = [site.url for site in self._sites] * (REQUESTS // len(self._sites))
        return burst([(url, cookie) for url in urls])

    def round(self) -> None:
        """Send a burst of requests with a fresh session. Then send another burst with the same
        session, but expired."""
        self._backend.instead.clear()
        form = {"username": "alice", "password": "alice-password"}
        tokens = requests.post(self._backend.url + LOGIN, json=form, timeout=5).json()
        fresh = session(tokens["access"], tokens["refresh"])
        over = Validity(int(time.time()) - 1, fresh.validity.refresh_until)
        self._backend.instead[REFRESH] = lambda request: time.sleep(REFRESH_TIME)
        self.fresh.append(self._burst(fresh))
        before = self._backend.calls[REFRESH]
        self.expired.append(self._burst(replace(fresh, validity=over)))
        self.calls.append(self._backend.calls[REFRESH] - before)
        self.lost.append(sum(answer.status != 200 for answer in self.expired[-1]))

    def row(self, name: str) -> list[str]:
        """Return the row of the table, with the medians of all rounds."""
        expired = [percentile(answers, 0.99) for answers in self.expired]
        return [
            name,
            f"{median(self.calls):.0f}",
            f"{median(self.lost):.0f}",
            *(f"{self.at(self.expired, share) * 1000:.0f} ms" for share in (0.5, 0.99)),
            spread(expired) if len(expired) > 1 else "",
            f"{self.at(self.fresh, 0.99) * 1000:.0f} ms",
            f"{ratio(expired, [percentile(answers, 0.99) for answers in self.fresh]):.2f}",
        ]

    def at(self, bursts: list[list[Answer]], share: float) -> float:
        """Compute a percentile for each burst. Return the median of the results, in seconds.

        :param share: the percentile, between 0 and 1.
        """
        return median(percentile(answers, share) for answers in bursts)

    def targets(self, name: str) -> list[Target]:
        """Return the targets for the calls of the backend and for the p99."""
        limit = REFRESH_TIME + self.at(self.fresh, 0.99) + TOLERANCE
        return [
            Target(f"storm, {name}: backend calls", 1, [max(self.calls)], ""),
            Target(
                f"storm, {name}: p99", limit * 1000, [self.at(self.expired, 0.99) * 1000], " ms"
            ),
        ]


def report() -> tuple[str, list[Target]]:
    """Return the table and the targets."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backend = stack.enter_context(Served(issuer({}, **ISSUER_SETTINGS)))
        redis = RedisServer(folder)
        stack.callback(redis.close)

        def storm(kind: str, processes: int = 1, **keys: str) -> Storm:
            pages = [ServedPage(folder, kind, backend.url, **keys) for _ in range(processes)]
            return Storm(backend, [stack.enter_context(page) for page in pages])

        ours = {
            "authapp, memory": storm("authapp"),
            "authapp, Redis, 4 processes": storm("authapp", 4, shared=redis.url),
        }
        by_hand = storm("by hand")
        for _ in range(ROUNDS):
            for each in random.sample(list(ours.values()), len(ours)):
                each.round()
        by_hand.round()
    rows = [each.row(name) for name, each in [*ours.items(), ("renewed per request", by_hand)]]
    head = ["", "backend calls", "requests lost", "p50", "p99", "spread", "p99, fresh", "ratio"]
    return table(head, rows), [
        target for name, each in ours.items() for target in each.targets(name)
    ]
