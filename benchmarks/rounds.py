"""Measure contenders in turns, and write the results as a Markdown table.

In every round, each contender has one turn. The order of the contenders changes from round to
round. A ratio of two contenders is computed for each round, and the table shows the median of all
rounds. So a busy machine affects both contenders of a ratio.
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
"""A function that takes a number, does its work this many times, and returns the seconds that the
work takes once."""


@dataclass(frozen=True)
class Target:
    """A limit, and the figures that were measured: one for each round, or one for all rounds.

    :ivar what: what was measured.
    :ivar limit: the target is missed if the median is above this value. If ``at_least`` is True, it
        is missed below this value.
    :ivar rounds: the figures, in ``unit``.
    """

    what: str
    limit: float
    rounds: Sequence[float]
    unit: str = " x"
    at_least: bool = False

    def verdict(self) -> str:
        """Return whether the target was met or missed.

        If the limit is between the quartiles, the verdict says that the figures are too noisy to be
        sure.
        """
        measured, (low, high) = median(self.rounds), middle_half(self.rounds)
        met = measured >= self.limit if self.at_least else measured <= self.limit
        noisy = low < self.limit < high
        return ("met" if met else "**missed**") + (", within the noise" if noisy else "")

    def row(self) -> list[str]:
        """Return the row of the table: what was measured, limit, median, quartiles and verdict."""
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
    """The results of a table, as a benchmark's function ``report`` returns them.

    A benchmark without a chart may return a tuple of the text and the targets instead.

    :ivar text: the table in Markdown.
    :ivar chart: a chart for the top of RESULTS.md, or an empty string.
    """

    text: str
    targets: list[Target]
    chart: str = ""


def bars(values: dict[str, float], unit: str, width: int = 40) -> str:
    """Return a bar chart as a Markdown code block, with the smallest value first."""
    longest, most = max(map(len, values)), max(values.values())
    lines = [
        f"{name:{longest}}  {'█' * max(1, round(width * value / most))} {value:,.0f} {unit}"
        for name, value in sorted(values.items(), key=lambda item: item[1])
    ]
    return "\n".join(["```", *lines, "```"])


def turn(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> Turn:
    """Return a turn in which a function is called again and again.

    :param clock: a function that returns seconds. By default it returns the processor time of this
        process, which other programs on the machine hardly change.
    """

    def run(number: int) -> float:
        began = clock()
        for _ in range(number):
            work()
        return (clock() - began) / number

    return run


def in_turns(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each function once per round, in a random order. Return name -> the results."""
    figures: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            figures[name].append(turns[name]())
    return figures


def measure(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Measure how many seconds the work of each contender takes.

    All contenders are in one process. So that the objects of one contender do not slow down another
    contender, the garbage collector ignores all objects from before the first round.

    :returns: the name of each contender -> the seconds of one piece of its work, for each round.
    """
    numbers = {name: _number(run) for name, run in turns.items()}
    gc.collect()
    gc.freeze()
    return in_turns({name: partial(run, numbers[name]) for name, run in turns.items()}, rounds)


def _number(run: Turn) -> int:
    """Warm a contender up. Return how often it can do its work in :data:`TURN` seconds."""
    number = 1
    while (each := run(number)) * number < TURN:
        number *= 2
    return max(1, round(TURN / each))


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Return the ratios of two contenders' figures, one for each round."""
    return [this / that for this, that in zip(these, those, strict=True)]


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of two contenders' figures."""
    return median(ratios(these, those))


def differences(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Return the differences of two contenders' figures, one for each round."""
    return [this - that for this, that in zip(these, those, strict=True)]


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile. Half of all values are between them."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4)
    return low, high


def spread(values: Sequence[float]) -> str:
    """Return half the difference of the quartiles as a percentage of the median: ``± 3%``."""
    low, high = middle_half(values)
    return f"± {(high - low) / 2 / median(values):.0%}"


def microseconds(seconds: float) -> str:
    """Return a duration in microseconds, as the tables show it."""
    return f"{seconds * 1e6:,.1f} µs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. All columns except the first contain figures."""
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
