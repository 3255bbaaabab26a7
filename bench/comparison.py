"""Two ways to do the same work, run in turns, and the ratio of their speeds.

Ours and the reference alternate, and each repetition of ours is compared with the one of the reference right after
it, so that whatever else the machine does meanwhile weighs on both.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Work = Callable[[], int]
"""Does its work once and returns for how many studies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is to be measured."""

    name: str
    one_means: str
    """What it would mean if the ratio were 1.0."""
    prepare: Callable[[], tuple[Work, Work | float]]
    """Makes ours and the reference ready; the reference may be a number, the studies a second to be reached."""
    repetitions: int
    clock: Callable[[], float] = time.perf_counter
    """In seconds."""

    @property
    def num_steps(self) -> int:
        """How often `compare` calls `on_step`."""
        return 2 * (1 + self.repetitions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What came out: `ours` and `reference` hold one value a repetition, in the order of measurement."""

    name: str
    one_means: str
    unit: str
    """Of the values: studies/s, where more is better, or GiB, where less is."""
    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """One a repetition; above 1 where ours is the better."""
        pairs = zip(self.ours, self.reference, strict=True)
        return tuple(reference / ours if self.unit == "GiB" else ours / reference for ours, reference in pairs)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "one_means": self.one_means,
            "unit": self.unit,
            "ratio": summary(self.ratios),
            "ours": summary(self.ours),
            "reference": summary(self.reference),
        }


def compare(task: Task, *, on_step: Callable[[], None]) -> Comparison:
    """Runs both sides in turns, after one run of each that does not count; `on_step` is called after every run."""
    sides = dict(zip(("ours", "reference"), task.prepare(), strict=True))
    speeds = {name: [] for name in sides}
    for repetition in range(1 + task.repetitions):
        for name, work in sides.items():
            speed = work if isinstance(work, float) else _speed(work, task.clock)
            if repetition > 0:
                speeds[name].append(speed)
            on_step()
    return Comparison(
        name=task.name,
        one_means=task.one_means,
        unit="studies/s",
        ours=tuple(speeds["ours"]),
        reference=tuple(speeds["reference"]),
    )


def summary(values: tuple[float, ...]) -> dict[str, Any]:
    """Median and spread (least and most) of the repetitions, and the repetitions themselves."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "values": list(values)}


def _speed(work: Work, clock: Callable[[], float]) -> float:
    start = clock()
    num_studies = work()
    return num_studies / (clock() - start)
