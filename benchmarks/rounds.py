"""Contenders measured in turns, and what that says as a Markdown table.

Every round gives every contender one turn, in an order of its own. A contender is compared
with another within each round, and the ratio of a table is the median of those: whatever
else a noisy machine does, it does to both sides.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

TURN = 0.005
"""Seconds that one turn should take."""

Turn = Callable[[int], float]
"""Does its work so many times, and says how many seconds each took."""


@dataclass(frozen=True)
class Target:
    """What must be reached, and what was measured: of every round, or one figure."""

    what: str
    limit: float
    rounds: Sequence[float]
    unit: str = " x"
    at_least: bool = False

    def verdict(self) -> str:
        """Met or missed by the median; and whether the limit lies in the middle half of all."""
        measured, (low, high) = median(self.rounds), middle_half(self.rounds)
        met = measured >= self.limit if self.at_least else measured <= self.limit
        noisy = low < self.limit < high
        return ("met" if met else "**missed**") + (", within the noise" if noisy else "")

    def row(self) -> list[str]:
        """What, limit, median, the middle half of all rounds, verdict."""
        bound = "at least" if self.at_least else "at most"
        half = " to ".join(f"{each:.3g}" for each in middle_half(self.rounds))
        return [
            self.what,
            f"{bound} {self.limit:.4g}{self.unit}",
            f"{median(self.rounds):.3g}{self.unit}",
            half if len(self.rounds) > 1 else "",
            self.verdict(),
        ]


def turn(work: Callable[[], object]) -> Turn:
    """A turn that calls something again and again."""

    def run(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            work()
        return (time.perf_counter() - began) / number

    return run


def in_turns(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The figure of each contender, round by round."""
    figures: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            figures[name].append(turns[name]())
    return figures


def measure(turns: dict[str, Turn], rounds: int) -> dict[str, list[float]]:
    """The seconds that each contender takes for one piece of work, round by round."""
    numbers = {name: _number(run) for name, run in turns.items()}
    return in_turns({name: partial(run, numbers[name]) for name, run in turns.items()}, rounds)


def _number(run: Turn) -> int:
    """How many times a contender does its work in one turn, once it is warm."""
    number = 1
    while (each := run(number)) * number < TURN:
        number *= 2
    return max(1, round(TURN / each))


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """One contender's figure over another's, round by round."""
    return [this / that for this, that in zip(these, those, strict=True)]


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median over all rounds of one contender's figure over another's."""
    return median(ratios(these, those))


def differences(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """What one contender takes more than another, round by round."""
    return [this - that for this, that in zip(these, those, strict=True)]


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """The quartiles: between them lies half of all rounds."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4)
    return low, high


def spread(values: Sequence[float]) -> str:
    """Half the width of the middle half, as a share of the median."""
    low, high = middle_half(values)
    return f"± {(high - low) / 2 / median(values):.0%}"


def microseconds(seconds: float) -> str:
    """A duration as tables show it."""
    return f"{seconds * 1e6:,.1f} µs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
