"""Prepares a data set: studies of a source in, a folder with train, validation and test out.

    python -m data.prepare synthetic --num-studies 1000 --out runs/studies
    python -m data.prepare table labels.csv --image-column image --out runs/studies
    python -m data.prepare table --help

The folder (see `data.writer`) is read with `data.study.load_studies`. No study is lost in silence: those that cannot
be used are listed with the reason in `refused.jsonl`, and kept + refused = given.

A further source is a dataclass of its options with a method `plan`, added to `SOURCES`.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import datasets
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from data.draft import Draft, ImageOptions, Plan, Planning, Refusal
from data.mimic import MimicSource
from data.open_i import OpenISource
from data.splits import check_fractions
from data.synthetic_source import SyntheticSource
from data.table import TableSource
from data.workers import build_rows, num_cores
from data.writer import REFUSED_FILE, DatasetWriter, check_out
from vlm.findings import FINDINGS

SOURCES = (
    Annotated[TableSource, tyro.conf.subcommand("table")]
    | Annotated[OpenISource, tyro.conf.subcommand("open_i")]
    | Annotated[MimicSource, tyro.conf.subcommand("mimic_cxr")]
    | Annotated[SyntheticSource, tyro.conf.subcommand("synthetic")]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Turns a source into a data set on disk."""

    source: SOURCES
    out: Path
    """Folder to write the data set to; it must not exist, or be empty."""
    overwrite: bool = False
    """Replace a data set that is already in --out."""
    seed: int = 0
    """Decides the split by subject, and the made-up studies."""
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the subjects for train, validation and test, where the source has no split of its own."""
    num_workers: int = field(default_factory=num_cores)
    """Processes that read pictures; 1 starts none."""
    image_options: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)

    def __post_init__(self):
        check_fractions(self.split_fractions)
        if self.num_workers < 1:
            raise ValueError(f"--num-workers is {self.num_workers}; give 1 or more")


def main(argv: list[str] | None = None) -> None:
    """Raises ValueError for what the user can mend: options, the table, an output folder in use, nothing kept."""
    options = tyro.cli(
        Preparation,
        args=argv,
        prog="python -m data.prepare",
        description=__doc__,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs),
    )
    console = Console()
    check_out(options.out, overwrite=options.overwrite)  # before the work, not after it
    datasets.disable_progress_bars()
    with DatasetWriter(options.out, overwrite=options.overwrite) as writer:
        plan = options.source.plan(
            Planning(
                seed=options.seed,
                split_fractions=options.split_fractions,
                work=writer.work,
                num_workers=options.num_workers,
            )
        )
        for note in plan.notes:
            console.print(f"Note: {note}", highlight=False)
        fill(writer, plan, options, console)
        with console.status("Saving"):
            writer.finish(options=as_json(options), num_given=plan.num_studies)
    print_summary(writer, plan, console)


def fill(writer: DatasetWriter, plan: Plan, options: Preparation, console: Console) -> None:
    """Take every draft of the plan to a row or a refusal."""
    with Progress(
        TextColumn("Preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        StudiesPerSecond(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("", total=plan.num_studies)
        drafts = refuse_duplicates(plan.drafts)
        for draft, outcome in build_rows(drafts, options.image_options, num_workers=options.num_workers):
            if isinstance(outcome, Refusal):
                writer.refuse(outcome)
            else:
                writer.keep(outcome, draft.split)
            progress.advance(task)


def refuse_duplicates(drafts: Iterator[Draft | Refusal]) -> Iterator[Draft | Refusal]:
    """The same drafts; of several with one study id, the second and later ones become refusals."""
    seen = set()
    for draft in drafts:
        if isinstance(draft, Refusal):
            yield draft
        elif draft.study_id in seen:
            reason = f"study id {draft.study_id} occurs before; each study needs an id of its own"
            yield Refusal(study_id=draft.study_id, split=draft.split, reason=reason, files=draft.files)
        else:
            seen.add(draft.study_id)
            yield draft


class StudiesPerSecond(ProgressColumn):
    """The rate since the start, for the progress bar."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed if task.elapsed else 0:.0f} studies/s")


def as_json(options: Preparation) -> dict[str, Any]:
    """The resolved options as JSON can hold them; the source with its name."""
    values = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return {"source_name": type(options.source).__name__.removesuffix("Source").lower(), **values}


def print_summary(writer: DatasetWriter, plan: Plan, console: Console) -> None:
    """Counts per split and finding, and what was refused."""
    table = Table(title=f"{writer.out}")
    table.add_column("")
    for split in writer.counts:
        table.add_column(split, justify="right")
    for name in ("kept", "images", "reports", "labelled"):
        table.add_row(name, *(str(getattr(counts, name)) for counts in writer.counts.values()))
    table.add_section()
    for finding in FINDINGS:
        table.add_row(finding, *(str(counts.positives[finding]) for counts in writer.counts.values()))
    console.print(table)
    for split, counts in writer.counts.items():
        if not counts.kept:
            console.print(f"Note: the split {split} is empty.")
    console.print(f"given {plan.num_studies} = kept {writer.num_kept} + refused {writer.num_refused}", highlight=False)
    for refusal in writer.first_refusals:
        console.print(f"  refused {refusal.study_id}: {refusal.reason}", highlight=False, markup=False)
    if writer.num_refused:
        console.print(f"All refusals are listed in {writer.out / REFUSED_FILE}.", highlight=False)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
