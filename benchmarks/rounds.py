"""Measures contenders in turns, and writes the results as a Markdown table.

In every round each contender has one turn, and the order changes from round to round. Two
contenders are compared within each round, and the ratio in a table is the median of all rounds. So
the noise of a busy machine affects both contenders.
"""

import gc
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple

TURN = 0.008
"""The duration of one turn in seconds."""

Turn = Callable[[int], float]
"""A function that does its work this many times, and returns the seconds for each time."""


@dataclass(frozen=True)
class Target:
    """A target, and the measured figures: one for each round, or only one for all rounds."""

    what: str
    limit: float
    rounds: Sequence[float]
    unit: str = " x"
    at_least: bool = False

    def verdict(self) -> str:
        """Return the verdict. It is within the noise if the limit is between the quartiles."""
        measured, (low, high) = median(self.rounds), middle_half(self.rounds)
        met = measured >= self.limit if self.at_least else measured <= self.limit
        noisy = low < self.limit < high
        return ("met" if met else "**missed**") + (", within the noise" if noisy else "")

    def row(self) -> list[str]:
        """Return the cells: what was measured, limit, median, quartiles, verdict."""
        bound = "at least" if self.at_least else "at most"
        half = " to ".join(f"{each:.3g}" for each in middle_half(self.rounds))
        return [
            self.what,
            f"{bound} {self.limit:.4g}{self.unit}",
            f"{median(self.rounds):.3g}{self.unit}",
            half if len(self.rounds) > 1 else "",
            self.verdict(),
        ]


class Report(NamedTuple):
    """What a table measured. A report may also be a tuple of the first two.

    :ivar text: the table in Markdown.
    :ivar chart: a chart for the top of RESULTS.md.
    """

    text: str
    targets: list[Target]
    chart: str = ""


def bars(values: dict[str, float], unit: str, width: int = 40) -> str:
    """Return a chart of text, the smallest value first, as a block of Markdown."""
    longest, most = max(map(len, values)), max(values.values())
    lines = [
        f"{name:{longest}}  {'█' * max(1, round(width * value / most))} {value:,.0f} {unit}"
        for name, value in sorted(values.items(), key=lambda item: item[1])
    ]
    return "\n".join(["```", *lines, "```"])


def turn(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> Turn:
    """Return a turn that calls a function again and again.

    :param clock: a function that returns seconds. The default returns the processor time of this
        process, which hardly depends on other programs on the machine.
    """

    def run(number: int) -> float:
        began = clock()
        for _ in range(number):
            work()
        return (clock() - began) / number

    return run


def in_turns(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the figures of each contender, one for each round."""
    figures: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            figures[name].append(turns[name]())
    return figures


def measure(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each contender takes for one piece of work, for each round.

    The garbage collector ignores all objects from before the first round. All contenders are in one
    process, and the objects of one contender must not make the others slower.
    """
    numbers = {name: _number(run) for name, run in turns.items()}
    gc.collect()
    gc.freeze()
    return in_turns({name: partial(run, numbers[name]) for name, run in turns.items()}, rounds)


def _number(run: Turn) -> int:
    """Return how often a contender can do its work in one turn, after a warm-up."""
    number = 1
    while (each := run(number)) * number < TURN:
        number *= 2
    return max(1, round(TURN / each))


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Return the ratio of two contenders' figures, for each round."""
    return [this / that for this, that in zip(these, those, strict=True)]


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of two contenders' figures."""
    return median(ratios(these, those))


def differences(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Return the difference of two contenders' figures, for each round."""
    return [this - that for this, that in zip(these, those, strict=True)]


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the quartiles. Half of all rounds are between them."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4)
    return low, high


def spread(values: Sequence[float]) -> str:
    """Return half the distance of the quartiles, as a share of the median."""
    low, high = middle_half(values)
    return f"± {(high - low) / 2 / median(values):.0%}"


def microseconds(seconds: float) -> str:
    """Return a duration as the tables show it."""
    return f"{seconds * 1e6:,.1f} µs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. All columns except the first contain figures."""
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
