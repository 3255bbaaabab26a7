"""Measures speed and memory beside transformers' VisionEncoderDecoderModel, and the data path beside Pillow.

    python -m bench.run            full size, for figures: a machine with nothing else to do, under 10 minutes
    python -m bench.run --quick    small sizes, to see that all of it runs

Prints a table of ratios and writes them with everything they depend on to bench/results/. A ratio above 1 means
that ours is the faster (or takes less memory) in the median of interleaved repetitions; its spread is beside it.
"""

import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# What imports torch is imported in the functions that need it: worker processes of data.prepare import this file.
from bench.speed.compare import Comparison, compare
from bench.speed.sizes import FULL, QUICK
from vlm.schema.atomic import write_json

RESULTS = Path(__file__).parent / "results"
FORMAT = 1
BUSY = 0.75
"""A load average above this share of the cores is told beside the figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """Measure speed and memory."""

    quick: bool = False
    """Small models and few repetitions; the figures mean nothing."""
    output: Path | None = None
    """JSON file to write; by default one under bench/results/ named after the time."""


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(BenchOptions, args=argv, prog="python -m bench.run", description=__doc__)
    from bench.speed.compare import commit, describe_machine, describe_versions, load_average
    from bench.speed.models import work_of_both

    sizes = QUICK if options.quick else FULL
    started, start, load_before = datetime.now(UTC), time.perf_counter(), load_average()
    comparisons = measure(quick=options.quick)
    record = {
        "format": FORMAT,
        "quick": options.quick,
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
    output = options.output or RESULTS / f"{started:%Y-%m-%dT%H%M%SZ}{'-quick' if options.quick else ''}.json"
    write_json(output, record, indent=1)
    print_record(record, output)


def measure(*, quick: bool) -> list[Comparison]:
    """Everything, one after the other, under a progress bar."""
    from bench.speed.data_path import data_tasks
    from bench.speed.memory import ACTIVITIES, compare_memory
    from bench.speed.models import peer_tasks

    sizes = QUICK if quick else FULL
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    comparisons = []
    with (
        tempfile.TemporaryDirectory(prefix="cxrscribe-bench-") as folder,
        # On stderr, because what data.prepare prints on stdout is caught.
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        # The models come last: processes that data.prepare and the loader start should not begin with their memory.
        memory, tasks = ACTIVITIES, [*data_tasks(sizes, Path(folder)), *peer_tasks(sizes)]
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
    """The table a person reads; all of it is in the record."""
    console = Console()
    table = Table(title="Above 1: ours is faster, or takes less memory", title_justify="left")
    table.add_column("ratio", justify="right")
    table.add_column("least to most", no_wrap=True)
    table.add_column("what")
    table.add_column("1.0 would be")
    for row in record["comparisons"]:
        ratio = row["ratio"]
        spread = f"{ratio['least']:.2f} to {ratio['most']:.2f}"
        table.add_row(f"{ratio['median']:.2f}", spread, row["name"], row["one_means"])
    console.print(table)
    machine, load = record["machine"], record["load_average"]
    console.print(f"{machine['processor']}, {machine['cores']} cores; {record['seconds']:.0f} s; written to {path}")
    if load["before"] > BUSY * machine["cores"]:
        console.print(
            f"The machine was busy before this began (load average {load['before']} on {machine['cores']} cores): "
            "ratios are less sure than their spread says."
        )
    if record["quick"]:
        console.print("Small sizes: these figures mean nothing; run without --quick.")


if __name__ == "__main__":
    main()
