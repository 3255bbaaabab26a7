"""Time and memory of the programs by number of studies: what grows faster than the data?

    python -m bench.growth                                      1,000 and 10,000 studies
    python -m bench.growth --numbers 100000 --only prepare      adds to the figures that are saved

Each program runs in a process of its own with one thread. The figures are its processor time, with that of the second
process of `eval.score`, and the peak memory of its main process, without pages of files (bench/speed/program.py).
Other work on the machine matters little for them. The studies are simulated (bench/speed/simulated.py). The results are
written to docs/results/growth.json, of which `python -m eval.report.results` makes a table and a chart.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from bench.speed.compare import commit, processor_name
from bench.speed.simulated import IMAGE_SIDE, write_predictions, write_studies
from data.cli import run_main
from vlm.schema.atomic import write_json

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "vlm" / "weights" / "tiny"
"""cxrscribe-tiny; the draft index is added to a copy."""
GROUP = "growth"
RESULTS = ROOT / "docs" / "results" / f"{GROUP}.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HF_HUB_OFFLINE"), "1")
SIMULATED = (
    f"The studies are simulated: images are random gray fields of {IMAGE_SIDE} x {IMAGE_SIDE} pixels, reports are "
    "synthetic, half of the predicted reports are another report of the same study and half are reports of others, and "
    "probabilities are random."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A measured program: what it is called in the table, and its command for a folder of simulated studies."""

    name: str
    command: Callable[[Path], list[str]]


PROGRAMS = {
    "prepare": Program(
        name="data.prepare table",
        command=lambda folder: [
            *("data.prepare", "table", f"{folder}/studies.csv", f"--image-root={folder}/images"),
            *("--num-workers=1", f"--out={folder}/prepared"),
        ],
    ),
    "audit": Program(name="data.audit", command=lambda folder: ["data.audit", f"{folder}/prepared", "--num-workers=1"]),
    "drafts": Program(
        name="train.draft_index",
        command=lambda folder: [
            *("train.draft_index", f"--checkpoint={folder}/checkpoint", f"--dataset={folder}/prepared"),
        ],
    ),
    "score": Program(
        name="eval.score, 1,000 resamples",
        command=lambda folder: ["eval.score", f"{folder}/predictions.jsonl", f"--output-dir={folder}/scores"],
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthOptions:
    """Measure programs on different numbers of studies."""

    numbers: tuple[int, ...] = (1000, 10_000)
    """Numbers of studies."""
    only: tuple[str, ...] = ()
    """Programs to measure: prepare, audit, drafts, score; by default all."""
    output: Path = RESULTS
    """JSON file of the figures. Figures that it has already are kept, or replaced if they are measured again."""

    def __post_init__(self):
        for name in self.only:
            if name not in PROGRAMS:
                raise ValueError(f"--only {name} is not measured; choose from {', '.join(PROGRAMS)}")
        if not self.numbers or min(self.numbers) < 1:
            raise ValueError(f"--numbers are {self.numbers}; give numbers of studies, each 1 or more")


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(GrowthOptions, args=argv, prog="python -m bench.growth", description=__doc__)
    console = Console()
    for number in sorted(options.numbers):
        with tempfile.TemporaryDirectory(prefix="cxrscribe-growth-") as folder:
            for key, figures in measure(Path(folder), number, options.only or tuple(PROGRAMS)):
                _save(options.output, key, number, figures)
                console.print(f"{number:,} studies, {PROGRAMS[key].name}: {figures}", highlight=False)


def measure(folder: Path, number: int, keys: Sequence[str]):
    """Run the programs on this number of studies; yields each with its figures as soon as it has ended.

    Raises:
        RuntimeError: a program failed; has its last messages.
    """
    if "score" in keys:
        write_predictions(folder / "predictions.jsonl", number)
    needs_data = any(key != "score" for key in keys)
    if needs_data:
        write_studies(folder, number)
        shutil.copytree(WEIGHTS, folder / "checkpoint")
    for key, program in PROGRAMS.items():
        if key not in keys and not (key == "prepare" and needs_data):
            continue  # what reads prepared studies needs them
        figures = _run(folder / "figures.json", program.command(folder))
        if key in keys:
            yield key, figures


def _run(figures: Path, command: Sequence[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.speed.program", str(figures), *command],
        cwd=ROOT,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")
    return json.loads(figures.read_text(encoding="utf-8"))


def _save(output: Path, key: str, number: int, figures: dict[str, float]) -> None:
    record: dict[str, Any] = {"group": GROUP, "simulated": SIMULATED, "programs": {}}
    if output.exists():
        record = json.loads(output.read_text(encoding="utf-8"))
    found = record["programs"].setdefault(PROGRAMS[key].name, {})
    found[str(number)] = figures | {"processor": processor_name(), "commit": commit()}
    record["programs"][PROGRAMS[key].name] = dict(sorted(found.items(), key=lambda one: int(one[0])))
    write_json(output, record)


if __name__ == "__main__":
    run_main(main)
