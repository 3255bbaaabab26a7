"""Audits a prepared data set: can it be trained on, and what is in it?

    python -m data.audit runs/studies

writes `audit.json` and `audit.html` (one file, opens offline) to runs/studies_audit: counts per split, source, licence,
view and finding; patients, images and reports that are in more than one split; damaged and blank images; what may
tell who somebody is; what was rejected. The data set itself is only read. Exits with 1 when it is not fit to train on.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.audit.document import Track, audit
from data.audit.page import render_audit
from data.audit.verdict import judge
from data.cli import run_main
from data.pipeline.workers import num_cores

DOCUMENT_FILE, PAGE_FILE = "audit.json", "audit.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What to audit, and where to write it."""

    dataset: tyro.conf.Positional[Path]
    """Folder of a prepared data set."""
    output_dir: Path | None = None
    """Folder for audit.json and audit.html; by default the data set's name with _audit."""
    num_workers: int = field(default_factory=num_cores)
    """Processes that look at studies; 1 starts none."""
    num_samples: int = 24
    """Images of each split on the contact sheet."""
    seed: int = 0
    """Draws the contact sheet."""

    def __post_init__(self):
        if self.num_workers < 1:
            raise ValueError(f"--num-workers is {self.num_workers}; give 1 or more")
        if not 0 <= self.num_samples <= 200:
            raise ValueError(f"--num-samples is {self.num_samples}; give 0 to 200")


def main(argv: list[str] | None = None) -> bool:
    """Whether the data set is fit to train on. Raises ValueError where there is none, or for a wrong option."""
    options = tyro.cli(Audit, args=argv, prog="python -m data.audit", description=__doc__)
    folder = options.dataset.resolve()
    output_dir = options.output_dir or folder.with_name(folder.name + "_audit")
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"--output-dir {output_dir} is a file; name a folder")
    console = Console()
    with progress(console) as track:
        document = audit(folder, num_workers=options.num_workers, track=track)
    document["verdict"] = judge(document)
    with console.status("Writing the page"):
        page = render_audit(document, num_samples=options.num_samples, seed=options.seed)
        output_dir.mkdir(parents=True, exist_ok=True)
        content = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (output_dir / DOCUMENT_FILE).write_text(content, encoding="utf-8", errors="backslashreplace")
        (output_dir / PAGE_FILE).write_text(page, encoding="utf-8", errors="backslashreplace")
    print_verdict(document, console)
    console.print(f"Details: {output_dir / PAGE_FILE}", highlight=False, markup=False, soft_wrap=True)
    return document["verdict"]["ready"]


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """A bar for each step of the work."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:

        def track(total: int, description: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total)
            return lambda amount: bars.advance(task, amount)

        yield track


def print_verdict(document: dict, console: Console) -> None:
    verdict = document["verdict"]
    splits = ", ".join(f"{split} {counts['studies']:,}" for split, counts in document["splits"].items())
    console.print(f"Studies: {splits}.", highlight=False)
    console.print(f"{verdict['headline']}.", style="bold green" if verdict["ready"] else "bold red", markup=False)
    for problem in verdict["problems"]:
        console.print(f"  {problem['severity']}: {problem['text']}. {problem['mend']}", highlight=False, markup=False)


if __name__ == "__main__":
    run_main(lambda: 0 if main() else 1, mistakes=(ValueError, RuntimeError), stopped="stopped; nothing was written")
