"""The most memory that one side takes, in a process of its own, so that neither hides the other.

    python -m bench.speed.memory ours write

prints the gibibytes that the process held at most: of the libraries alone, and in all.
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

Side = Literal["ours", "peer"]
Activity = Literal["write", "train"]

ACTIVITIES: tuple[Activity, ...] = get_args(Activity)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryOptions:
    """Does one thing on one side and prints how much memory it took."""

    side: tyro.conf.Positional[Side]
    activity: tyro.conf.Positional[Activity]
    quick: bool = False
    """Small sizes, as of `bench.run --quick`."""


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(MemoryOptions, args=argv, prog="python -m bench.speed.memory", description=__doc__)
    from bench.speed import models as against_peer  # late: whoever only starts these processes needs none of it

    sizes = QUICK if options.quick else FULL
    libraries = peak_memory_gib()
    if options.activity == "train":
        work = against_peer.ours_training(sizes) if options.side == "ours" else against_peer.peer_training(sizes)
    else:
        make = against_peer.ours_writing if options.side == "ours" else against_peer.peer_writing
        work = make(sizes, sizes.num_studies)
    for _ in range(2):  # the optimiser's own memory comes with the first step and stays for the second
        work()
    print(json.dumps({"libraries": libraries, "peak": peak_memory_gib()}))


def compare_memory(activity: Activity, sizes: BenchSizes, *, quick: bool, on_step: Callable[[], None]) -> Comparison:
    """Both sides, each in its own process."""
    peaks = {}
    for side in ("ours", "peer"):
        command = [sys.executable, "-m", "bench.speed.memory", side, activity, *(["--quick"] if quick else [])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        peaks[side] = json.loads(done.stdout.splitlines()[-1])["peak"]
        on_step()
    doing = {
        "write": f"reports of {sizes.num_studies} studies at a time",
        "train": f"training with LoRA, batches of {sizes.train_batch_size}",
    }
    return Comparison(
        name=f"memory: {doing[activity]}",
        one_means="as much as VisionEncoderDecoderModel, libraries included",
        unit="GiB",
        ours=(peaks["ours"],),
        reference=(peaks["peer"],),
    )


def peak_memory_gib() -> float:
    """The most main memory that this process has held so far.

    On Linux not by `getrusage`: there a child starts from the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


if __name__ == "__main__":
    main()
