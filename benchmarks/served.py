"""Requests per second to the starter page with pserve, waitress and wrk, with and without authapp.

The table shows two figures:

- The requests per second of elapsed time. Other programs on the machine change this figure. Only
  this figure has a target.
- The requests per second of the server's processor time. Other programs hardly change it.

The row "standard directives that do nothing" shows the cost of Pyramid itself.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rounds import Target, in_turns, ratio, ratios, spread, table
from benchmarks.samples import small
from benchmarks.serving import ServedPage, cookie_of
from site_under_test import COOKIE

TITLE = "Served"
ROUNDS = 15
SECONDS = 1
WITHOUT, SIGNED_IN = "page without authapp", "authapp, signed in"
IDLE = "standard directives that do nothing"
IN_PRODUCTION = {"development": "false", "session__cookie": COOKIE, "backend__url": "https://h:9"}


class Load:
    """wrk, which sends requests to one page over eight connections.

    :param page: an object with ``url`` and ``cpu_seconds()``.
    :param cookie: the ``Cookie`` header of the requests.
    """

    def __init__(self, page: Any, cookie: str) -> None:
        self._page = page
        self._command = ["wrk", "-t1", "-c8", f"-d{SECONDS}s", "-H", f"Cookie: {cookie}", page.url]
        self.by_cpu: list[float] = []

    def turn(self) -> float:
        """Send requests for a second. Return the requests per second.

        The list ``by_cpu`` gets the requests per second of the server's processor time.
        """
        before = self._page.cpu_seconds()
        said = subprocess.run(self._command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in said, said
        number = re.search(r"(\d+) requests in", said)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        assert number, said
        assert rate, said
        self.by_cpu.append(int(number[1]) / (self._page.cpu_seconds() - before))
        return float(rate[1])


def report() -> tuple[str, list[Target]]:
    """Return the table and the target."""
    cookie = cookie_of(small())
    with tempfile.TemporaryDirectory() as folder:
        plain, idle, ours = (
            ServedPage(Path(folder), kind, page="starter", **IN_PRODUCTION)
            for kind in ("plain", "idle", "authapp")
        )
        with plain, idle, ours:
            loads = {
                WITHOUT: Load(plain, cookie),
                IDLE: Load(idle, cookie),
                SIGNED_IN: Load(ours, cookie),
            }
            rates = in_turns({name: load.turn for name, load in loads.items()}, ROUNDS)
    rows = []
    for name, load in loads.items():
        row = [name]
        for each, base in ((rates[name], rates[WITHOUT]), (load.by_cpu, loads[WITHOUT].by_cpu)):
            row += [f"{median(each):,.0f}", spread(each), f"{ratio(each, base):.2f}"]
        rows.append(row)
    head = ["", "requests a second", "spread", "ratio", "for a CPU second", "spread", "ratio"]
    reached = ratios(rates[SIGNED_IN], rates[WITHOUT])
    target = Target("served, signed in / the page without authapp", 0.90, reached, at_least=True)
    return table(head, rows), [target]
