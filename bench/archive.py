"""Speed of page.archive with 1 and 2 workers compared with eval/batch.py, and its memory over many rows.

    python -m bench.archive                       needs the extra `scale` and an idle machine with 2 cores
    python -m bench.archive --num-studies 0       only the memory

Speed: studies per second on the same synthetic studies, one core per process. Each program runs on few and on many
studies, and the difference counts, so that loading a model and starting Ray do not. Memory: of the program, and of it
with all processes of Ray, while it writes rows for a manifest whose images are missing; no model reads them, so this
shows what the rows cost.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow
import pyarrow.parquet
import tyro
from rich.console import Console
from rich.table import Table

from bench.speed.compare import describe_machine, load_average
from data.cli import check_minimum, run_main
from vlm.schema.atomic import write_json

ROOT = Path(__file__).parents[1]
FEW = 8
SAMPLE_SECONDS = 2.0
ONE_CORE = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RAY_worker_niceness": "0", "CUDA_VISIBLE_DEVICES": ""}
PROGRAMS = {
    "eval/batch.py": ("eval/batch.py", "--controls", "--neighbor-pool", "1", "--num-page-studies", "0"),
    "page.archive, 1 worker": ("-m", "page.archive", "--num-workers", "1"),
    "page.archive, 2 workers": ("-m", "page.archive", "--num-workers", "2"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveBenchOptions:
    """Measure page.archive."""

    num_studies: int = 200
    """Studies for the speed; 0: do not measure it."""
    num_rows: int = 100_000
    """Rows for the memory; 0: do not measure it."""
    output: Path | None = None
    """JSON file for the figures."""

    def __post_init__(self):
        check_minimum(self, num_studies=0, num_rows=0)
        if 0 < self.num_studies <= FEW:
            raise ValueError(f"--num-studies is {self.num_studies}; give more than {FEW}, or 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Memory at a time: MiB of the program, and of it with the processes that it started."""

    rows: int
    program: float
    all_processes: float


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(ArchiveBenchOptions, args=argv, prog="python -m bench.archive", description=__doc__)
    if importlib.util.find_spec("ray") is None:
        raise ValueError("Ray is not installed; install it with `pip install cxrscribe[scale]`")
    record = {"machine": describe_machine(), "load_average": load_average()}
    with tempfile.TemporaryDirectory(prefix="cxrscribe-bench-") as folder:
        if options.num_studies:
            record["studies_per_second"] = measure_speed(Path(folder), options.num_studies)
        if options.num_rows:
            record["memory"] = summarize(measure_memory(Path(folder), options.num_rows))
    if options.output is not None:
        write_json(options.output, record, indent=1)
    print_record(record)


def measure_speed(folder: Path, num_studies: int) -> dict[str, float]:
    """Studies per second of each program."""
    data = {number: _prepare(folder / f"studies-{number}", number) for number in (FEW, num_studies)}
    speeds = {}
    for name, program in PROGRAMS.items():
        seconds = {number: _seconds(folder, program, data[number]) for number in data}
        speeds[name] = rate(seconds)
    return speeds


def rate(seconds: dict[int, float]) -> float:
    """Studies per second, from the seconds for two numbers of studies.

    Raises:
        ValueError: the larger number took no longer.
    """
    few, many = sorted(seconds)
    if seconds[many] <= seconds[few]:
        raise ValueError(f"{many} studies took no longer than {few}; give a larger --num-studies")
    return (many - few) / (seconds[many] - seconds[few])


def measure_memory(folder: Path, num_rows: int) -> list[Sample]:
    """Memory while page.archive writes this number of rows."""
    names = [f"study-{number:08}" for number in range(num_rows)]
    table = pyarrow.table({"study_id": names, "images": [f"missing/{name}.png" for name in names]})
    pyarrow.parquet.write_table(table, folder / "manifest.parquet")
    output = folder / "rows"
    command = _command(PROGRAMS["page.archive, 1 worker"], folder / "manifest.parquet", output)
    samples = []
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | ONE_CORE, stdout=subprocess.DEVNULL) as program:
        while program.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            if (num_done := _num_rows(output)) and (memory := _memory(program.pid)):
                samples.append(Sample(rows=num_done, program=memory[0], all_processes=sum(memory)))
    if program.returncode:
        raise ValueError(f"{' '.join(command)} ended with status {program.returncode}")
    return samples


def summarize(samples: Sequence[Sample]) -> dict[str, float]:
    """The highest memory in the first and in the last quarter of the rows.

    Raises:
        ValueError: there are too few rows for samples of both.
    """
    total = max((sample.rows for sample in samples), default=0)
    first = [sample for sample in samples if sample.rows <= total / 4]
    last = [sample for sample in samples if sample.rows > total * 3 / 4]
    if not first or not last:
        raise ValueError("the rows were written too fast to sample the memory; give a larger --num-rows")
    return {
        "rows": total,
        "program_first_mib": max(sample.program for sample in first),
        "program_last_mib": max(sample.program for sample in last),
        "all_first_mib": max(sample.all_processes for sample in first),
        "all_last_mib": max(sample.all_processes for sample in last),
    }


def print_record(record: dict) -> None:
    console, speeds = Console(), record.get("studies_per_second", {})
    table = Table("program", "studies per second", "compared with eval/batch.py", title="Speed")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.2f}", f"{speed / speeds['eval/batch.py']:.2f}")
    if speeds:
        console.print(table)
    if memory := record.get("memory"):
        for name, key in (("the program", "program"), ("with all processes of Ray", "all")):
            first, last = memory[f"{key}_first_mib"], memory[f"{key}_last_mib"]
            quarters = f"{first:.0f} MiB in the first quarter, {last:.0f} in the last"
            console.print(f"{memory['rows']:,} rows, {name}: {quarters}")
    console.print(f"load average before: {record['load_average']:.1f}")


def _prepare(folder: Path, num_studies: int) -> Path:
    _run([sys.executable, "-m", "data.prepare", "synthetic", "--num-studies", str(num_studies), "--seed", "5",
          "--split-fractions", "0", "0", "1", "--out", str(folder)])  # fmt: skip
    return folder


def _seconds(folder: Path, program: Sequence[str], data: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as output:
        start = time.perf_counter()
        _run(_command(program, data, Path(output) / "out"))
        return time.perf_counter() - start


def _command(program: Sequence[str], data: Path, output: Path) -> list[str]:
    flags = ("--input", "--output") if "page.archive" in program else ("--dataset", "--output-dir")
    return [sys.executable, *program, flags[0], str(data), flags[1], str(output), "--batch-size", "8"]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_CORE, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")


def _num_rows(output: Path) -> int:
    return sum(pyarrow.parquet.read_metadata(part).num_rows for part in output.glob("part-*.parquet"))


def _memory(pid: int) -> list[float]:
    """MiB of the program, and of each process that it started; [] if it has ended."""
    memory = []
    try:
        program = psutil.Process(pid)
        for process in (program, *program.children(recursive=True)):
            memory.append(process.memory_full_info().uss / 2**20)
    except psutil.Error:
        return memory if len(memory) > 1 else []
    return memory


if __name__ == "__main__":
    run_main(main)
