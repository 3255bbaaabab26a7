"""Peak memory of one side, measured in a separate process.

    python -m bench.speed.memory ours generate

prints the peak memory of the process in GiB: of the imported libraries alone, and in total.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro

from bench.speed.compare import Comparison
from bench.speed.sizes import FULL, QUICK, BenchSizes

Side = Literal["ours", "hf_baseline"]
Activity = Literal["generate", "train"]

ACTIVITIES: tuple[Activity, ...] = get_args(Activity)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryOptions:
    """Run one activity of one side and print its memory."""

    side: tyro.conf.Positional[Side]
    activity: tyro.conf.Positional[Activity]
    quick: bool = False
    """Use the small sizes of `bench.run --quick`."""


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(MemoryOptions, args=argv, prog="python -m bench.speed.memory", description=__doc__)
    from bench.speed import models  # late: the parent process does not need it

    sizes = QUICK if options.quick else FULL
    libraries = peak_memory_gib()
    if options.activity == "train":
        work = models.ours_training(sizes) if options.side == "ours" else models.hf_training(sizes)
    else:
        make = models.ours_generation if options.side == "ours" else models.hf_generation
        work = make(sizes, sizes.num_studies)
    for _ in range(2):  # the first step allocates the optimizer state, the second one runs with it
        work()
    print(json.dumps({"libraries": libraries, "peak": peak_memory_gib()}))


def compare_memory(activity: Activity, sizes: BenchSizes, *, quick: bool, on_step: Callable[[], None]) -> Comparison:
    """Measure both sides, each in its own process."""
    peaks = {}
    for side in get_args(Side):
        command = [sys.executable, "-m", "bench.speed.memory", side, activity, *(["--quick"] if quick else [])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        peaks[side] = json.loads(done.stdout.splitlines()[-1])["peak"]
        on_step()
    doing = {
        "generate": f"reports of {sizes.num_studies} studies at a time",
        "train": f"training with LoRA, batches of {sizes.train_batch_size}",
    }
    return Comparison(
        name=f"memory: {doing[activity]}",
        one_means="as much as VisionEncoderDecoderModel, libraries included",
        unit="GiB",
        ours=(peaks["ours"],),
        reference=(peaks["hf_baseline"],),
    )


def peak_memory_gib() -> float:
    """Peak memory of this process so far.

    `getrusage` is not used on Linux, because there a child process starts with the peak of its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


if __name__ == "__main__":
    main()
