"""The page under pserve, waitress and wrk: without authapp, and with it, signed in."""

import re
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.rounds import Target, in_turns, ratio, spread, table
from benchmarks.samples import small
from benchmarks.serving import ServedPage, cookie_of

TITLE = "Served"
ROUNDS = 9
SECONDS = 1
WITHOUT, SIGNED_IN = "page without authapp", "authapp, signed in"


def requests_a_second(url: str, cookie: str) -> float:
    """What wrk counts with eight connections."""
    command = ["wrk", "-t1", "-c8", f"-d{SECONDS}s", "-H", f"Cookie: {cookie}", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


def report() -> tuple[str, list[Target]]:
    """The table, and the target."""
    cookie = cookie_of(small())
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = ServedPage(Path(folder), "plain"), ServedPage(Path(folder), "authapp")
        with plain, ours:
            figures = in_turns(
                {
                    WITHOUT: lambda: requests_a_second(plain.url, cookie),
                    SIGNED_IN: lambda: requests_a_second(ours.url, cookie),
                },
                ROUNDS,
            )
    rows = [
        [name, f"{median(each):,.0f}", spread(each), f"{ratio(each, figures[WITHOUT]):.2f}"]
        for name, each in figures.items()
    ]
    reached = ratio(figures[SIGNED_IN], figures[WITHOUT])
    head = ["", "requests a second", "spread", f"over {WITHOUT}"]
    target = Target("served, signed in / the page without authapp", 0.90, reached, at_least=True)
    return table(head, rows), [target]
