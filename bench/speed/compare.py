"""Compare the speed of two implementations of the same work; describe the machine, the versions and the commit.

Ours and the reference alternate, and each repetition of ours is compared with the next one of the reference, so that
other load on the machine affects both.
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
    import torch  # late: see bench.run

    return {
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": num_cores(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}


def load_average() -> float:
    """Mean number of running or waiting processes in the last minute, this process included."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """Commit of the repository, with "+" if tracked files differ from it; "" outside a repository."""
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
"""Process some studies once and return their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One measurement."""

    name: str
    one_means: str
    """The meaning of a ratio of 1.0."""
    prepare: Callable[[], tuple[Work, Work | float]]
    """Prepare ours and the reference; the reference may be a target number of studies per second."""
    repetitions: int
    clock: Callable[[], float] = time.perf_counter
    """Time in seconds."""

    @property
    def num_steps(self) -> int:
        """Number of calls of `on_step` by `compare`."""
        return 2 * (1 + self.repetitions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The result: `ours` and `reference` have one value per repetition."""

    name: str
    one_means: str
    unit: str
    """Unit of the values: studies/s (more is better) or GiB (less is better)."""
    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """One ratio per repetition; above 1 if ours is better."""
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
    """Run both sides alternately, after one warm-up run of each; `on_step` is called after every run."""
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
    """Median, minimum and maximum of the repetitions, and all values."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "values": list(values)}


def _speed(work: Work, clock: Callable[[], float]) -> float:
    start = clock()
    num_studies = work()
    return num_studies / (clock() - start)
