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
    """What must be reached, what was measured, and whether that is enough."""

    what: str
    limit: float
    measured: float
    unit: str = " x"
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def row(self) -> list[str]:
        """What, limit, measured, met or missed."""
        bound = "at least" if self.at_least else "at most"
        limit, measured = f"{self.limit:.4g}{self.unit}", f"{self.measured:.3g}{self.unit}"
        return [self.what, f"{bound} {limit}", measured, "met" if self.met else "**missed**"]


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


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median over all rounds of one contender's figure over another's."""
    return median(this / that for this, that in zip(these, those, strict=True))


def difference(these: Sequence[float], those: Sequence[float]) -> float:
    """The median over all rounds of what one contender takes more than another."""
    return median(this - that for this, that in zip(these, those, strict=True))


def spread(values: Sequence[float]) -> str:
    """The middle half of the rounds, as a share of the median."""
    low, _, high = quantiles(values, n=4)
    return f"± {(high - low) / 2 / median(values):.0%}"


def microseconds(seconds: float) -> str:
    """A duration as tables show it."""
    return f"{seconds * 1e6:,.1f} µs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
