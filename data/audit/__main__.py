"""Audit of a prepared data set: is it ready to train on, and what does it contain?

    python -m data.audit runs/studies

Writes `audit.json` and `audit.html` (one file, opens offline) to runs/studies_audit: counts by split, source, license,
view and finding; patients, images and reports in more than one split; damaged and blank images; possible personal
identifiers; and what was rejected. The data set is not changed. Exits with 1 if it is not ready to train on.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.audit.collect import Track
from data.audit.document import audit
from data.audit.page import render_audit
from data.audit.verdict import judge
from data.cli import check_writable, run_main
from data.pipeline.workers import num_cores
from vlm.schema.atomic import write_atomically

DOCUMENT_FILE, PAGE_FILE = "audit.json", "audit.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Data set to audit, and where to write the results."""

    dataset: tyro.conf.Positional[Path]
    """Folder of a prepared data set."""
    output_dir: Path | None = None
    """Folder for audit.json and audit.html. Default: the name of the data set with _audit."""
    num_samples: int = 24
    """Number of images from each split on the contact sheet."""
    seed: int = 0
    """Random seed of the contact sheet."""
    num_workers: int = field(default_factory=num_cores)
    """Number of worker processes; 1 starts none."""

    def __post_init__(self):
        if self.num_workers < 1:
            raise ValueError(f"--num-workers is {self.num_workers}; give 1 or more")
        if not 0 <= self.num_samples <= 200:
            raise ValueError(f"--num-samples is {self.num_samples}; give 0 to 200")


def main(argv: list[str] | None = None) -> bool:
    """Run the audit; returns whether the data set is ready to train on.

    Raises:
        ValueError: the folder is not a data set, or an option is wrong.
    """
    options = tyro.cli(Audit, args=argv, prog="python -m data.audit", description=__doc__)
    folder = options.dataset.resolve()
    output_dir = options.output_dir or folder.with_name(folder.name + "_audit")
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"--output-dir {output_dir} is a file; name a folder")
    check_writable(output_dir, flag="--output-dir")
    console = Console()
    with _progress(console) as track:
        document = audit(folder, num_workers=options.num_workers, track=track)
    document["verdict"] = judge(document)
    with console.status("Writing the page"):
        page = render_audit(document, num_samples=options.num_samples, seed=options.seed)
        output_dir.mkdir(parents=True, exist_ok=True)
        content = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, text in ((DOCUMENT_FILE, content), (PAGE_FILE, page)):
            write_atomically(output_dir / name, text.encode(errors="backslashreplace"))
    _print_verdict(document, console)
    console.print(f"Details: {output_dir / PAGE_FILE}", highlight=False, markup=False, soft_wrap=True)
    return document["verdict"]["ready"]


@contextmanager
def _progress(console: Console) -> Iterator[Track]:
    """A progress bar for each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:

        def track(total: int, description: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total)
            return lambda amount: bars.advance(task, amount)

        yield track


def _print_verdict(document: dict, console: Console) -> None:
    verdict = document["verdict"]
    splits = ", ".join(f"{split} {counts['studies']:,}" for split, counts in document["splits"].items())
    console.print(f"Studies: {splits}.", highlight=False)
    console.print(f"{verdict['headline']}.", style="bold green" if verdict["ready"] else "bold red", markup=False)
    for problem in verdict["problems"]:
        console.print(f"  {problem['severity']}: {problem['text']}. {problem['fix']}", highlight=False, markup=False)


if __name__ == "__main__":
    run_main(lambda: 0 if main() else 1, mistakes=(ValueError, RuntimeError), stopped="stopped; nothing was written")
