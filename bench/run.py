"""Speed and memory compared with transformers' VisionEncoderDecoderModel, and the data path compared with Pillow.

    python -m bench.run            full size: needs an idle machine and less than 10 minutes
    python -m bench.run --quick    small sizes: a test of the program

Prints a table of ratios, and writes them with all settings and versions to docs/results/speed.json, of which
`python -m eval.report.results` makes a table. A ratio above 1 means that our side is faster (or needs less memory) in
the median of interleaved repetitions; the table also shows the spread.
"""

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.speed.compare import Comparison, compare
from bench.speed.sizes import FULL, QUICK

# Modules that import torch are imported in functions, because worker processes of data.prepare import this file.
from data.cli import run_main
from vlm.schema.atomic import write_json

RESULTS, PARTS = Path("docs/results/speed.json"), Path("runs/speed.json")
FORMAT = 2
BUSY = 0.75
"""A load average above this fraction of the cores is reported with the figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """Measure speed and memory."""

    quick: bool = False
    """Use small models and few repetitions; the figures are meaningless."""
    only: str = ""
    """Measure only the speeds with this text in their name, for example "reports", or "memory" alone."""
    cpu_time: bool = False
    """Compare processor time instead of the time that passes, for a machine that does other work too. All threads
    count."""
    output: Path | None = None
    """JSON file to write; by default docs/results/speed.json, or runs/speed.json with --quick or --only."""


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(BenchOptions, args=argv, prog="python -m bench.run", description=__doc__)
    from bench.speed.compare import commit, describe_machine, describe_versions, load_average
    from bench.speed.models import work_of_both

    sizes = QUICK if options.quick else FULL
    started, start, load_before = datetime.now(UTC), time.perf_counter(), load_average()
    comparisons = measure(options)
    record = {
        "format": FORMAT,
        "quick": options.quick,
        "cpu_time": options.cpu_time,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
        "commit": commit(),
        "machine": describe_machine(),
        "load_average": {"before": load_before, "after": load_average()},
        "versions": describe_versions(),
        "sizes": asdict(sizes),
        "work": work_of_both(sizes),
        "comparisons": [comparison.as_json() for comparison in comparisons],
    }
    output = options.output or (PARTS if options.quick or options.only else RESULTS)
    write_json(output, record, indent=1)
    print_record(record, output)


def measure(options: BenchOptions) -> list[Comparison]:
    """Run the measurements with a progress bar.

    Raises:
        ValueError: no measurement has the text of `--only` in its name.
    """
    from bench.speed.data_path import data_tasks
    from bench.speed.memory import ACTIVITIES, compare_memory
    from bench.speed.models import model_tasks

    quick, sizes = options.quick, QUICK if options.quick else FULL
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    comparisons = []
    with (
        tempfile.TemporaryDirectory(prefix="cxrscribe-bench-") as folder,
        # On stderr, because the stdout of data.prepare is captured.
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        # The models come last, so that child processes of data.prepare and the loader do not inherit their memory.
        memory = ACTIVITIES if options.only in "memory" else ()
        tasks = [*data_tasks(sizes, Path(folder)), *model_tasks(sizes)]
        tasks = [task for task in tasks if options.only in task.name]
        if not memory and not tasks:
            raise ValueError(f"--only {options.only!r} is in the name of no measurement; leave it out to see all names")
        if options.cpu_time:
            tasks = [replace(task, clock=time.process_time) for task in tasks]
        bar = progress.add_task("", total=2 * len(memory) + sum(task.num_steps for task in tasks))
        for activity in memory:
            progress.update(bar, description=f"memory: {activity}")
            comparisons.append(compare_memory(activity, sizes, quick=quick, on_step=lambda: progress.advance(bar)))
        for task in tasks:
            progress.update(bar, description=task.name)
            comparisons.append(compare(task, on_step=lambda: progress.advance(bar)))
        progress.update(bar, description="done")
    return comparisons


def print_record(record: dict[str, Any], path: Path) -> None:
    """Print the record as a table."""
    console = Console()
    table = Table(title="Above 1: ours is faster, or needs less memory", title_justify="left")
    table.add_column("ratio", justify="right")
    table.add_column("least to most", no_wrap=True)
    table.add_column("measurement")
    table.add_column("1.0 means")
    for row in record["comparisons"]:
        ratio = row["ratio"]
        spread = f"{ratio['least']:.2f} to {ratio['most']:.2f}"
        table.add_row(f"{ratio['median']:.2f}", spread, row["name"], row["one_means"])
    console.print(table)
    machine, load = record["machine"], record["load_average"]
    console.print(f"{machine['processor']}, {machine['cores']} cores; {record['seconds']:.0f} s; written to {path}")
    if load["before"] > BUSY * machine["cores"]:
        console.print(
            f"The machine was busy at the start (load average {load['before']} on {machine['cores']} cores): "
            "the ratios are less certain than their spread suggests."
        )
    if record["quick"]:
        console.print("Small sizes: these figures are meaningless; run without --quick.")


if __name__ == "__main__":
    run_main(main)
