"""Two ways to do the same work, run in turns, and the ratio of their speeds.

Ours and the reference alternate, and each repetition of ours is compared with the one of the reference right after
it, so that whatever else the machine does meanwhile weighs on both.

Where figures were taken: the machine, how busy it was, the versions, and the commit.
"""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.pipeline.workers import num_cores

VERSIONED = (
    *("torch", "transformers", "peft", "accelerate", "tokenizers", "datasets"),
    *("numpy", "pillow", "opencv-python-headless"),
)


def describe_machine() -> dict[str, Any]:
    """Absolute times mean nothing without it, and little with it."""
    import torch  # late: see bench.run

    return {
        "processor": processor_name(),
        "cores": num_cores(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}


def load_average() -> float:
    """Of the last minute: how many processes wanted a core. This one counts too, once it has run for a while."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """Of the repository, with "+" where tracked files differ from it; "" outside one."""
    root = Path(__file__).parents[2]
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=root,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return found.stdout.strip()


def processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
