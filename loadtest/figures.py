"""What a benchmark finds: figures held against bars, and what is worth saying beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

Measured = TypeVar("Measured")

Tell = Callable[[str], None]
"""Says what is going on, for a person who waits."""


class Verdict(StrEnum):
    """Where a figure stands."""

    GOAL = "goal"
    MUST = "must"
    MISSED = "missed"
    NOTED = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: `value` is held against the bars, `detail` says what it was made from."""

    name: str
    value: float
    unit: str
    detail: str
    must: float | None = None
    goal: float | None = None
    lower_is_better: bool = False

    @property
    def verdict(self) -> Verdict:
        """Return the highest bar that the value clears."""
        if self.must is None:
            return Verdict.NOTED
        if self.goal is not None and self._clears(self.goal):
            return Verdict.GOAL
        return Verdict.MUST if self._clears(self.must) else Verdict.MISSED

    def plain(self) -> Mapping[str, object]:
        """Return the figure as JSON has it."""
        return {**asdict(self), "verdict": str(self.verdict)}

    def _clears(self, bar: float) -> bool:
        return self.value <= bar if self.lower_is_better else self.value >= bar


@dataclass(frozen=True, slots=True)
class Findings:
    """What one benchmark found; `raw` goes into the JSON file alone."""

    figures: tuple[Figure, ...]
    raw: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round(Generic[Measured]):
    """One measurement and the mean of the limits timed right before and after it."""

    measured: Measured
    limit: float


def alternate(
    measure: Callable[[], Measured], limit: Callable[[], float], rounds: int
) -> Sequence[Round[Measured]]:
    """Measure several times, the limit before, between and after: a busy moment then spoils one round alone."""
    found, before = [], limit()
    for _ in range(rounds):
        measured, after = measure(), limit()
        found.append(Round(measured, (before + after) / 2))
        before = after
    return found


def middle(rounds: Sequence[Round[Measured]], rate: Callable[[Measured], float]) -> Round[Measured]:
    """Return the round whose ratio to its limit is the median."""
    return sorted(rounds, key=lambda each: rate(each.measured) / each.limit)[len(rounds) // 2]
