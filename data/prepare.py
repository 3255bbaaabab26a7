"""Prepares a data set: studies of a source in, a folder with train, validation and test out.

    python -m data.prepare synthetic --num-studies 1000 --out runs/studies
    python -m data.prepare table labels.csv --image-column image --out runs/studies
    python -m data.prepare table --help

The folder (see `data.pipeline.writer`) is read with `data.study.load_studies`. No study is lost in silence: those
that cannot
be used are listed with the reason in `rejected.jsonl`, and kept + rejected = given. A run that was killed goes on when
the same command is given again.

A further source is a dataclass of its options with a method `plan`, added to `SOURCES`.
"""

import dataclasses
import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Union

import datasets
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from data.cli import run_main
from data.pipeline.raw_study import ImageOptions, PlanContext, RawStudy, Rejection, SourcePlan
from data.pipeline.row import BuildOptions
from data.pipeline.workers import build_rows, num_cores
from data.pipeline.writer import WARNINGS_FILE, DatasetWriter
from data.reports.clean import TextOptions
from data.sources.corrections import CorrectionsSource
from data.sources.dicom_archive import DicomSource
from data.sources.kermany import KermanySource
from data.sources.mimic_cxr import MimicSource
from data.sources.open_i import OpenISource
from data.sources.table import TableSource
from data.study import REJECTED_FILE, check_fractions
from data.synthetic.source import SyntheticSource
from vlm.schema.findings import FINDINGS

SOURCES = {
    "table": TableSource,
    "open_i": OpenISource,
    "mimic_cxr": MimicSource,
    "kermany": KermanySource,
    "dicom": DicomSource,
    "corrections": CorrectionsSource,
    "synthetic": SyntheticSource,
}
Source = Union[tuple(Annotated[source, tyro.conf.subcommand(name)] for name, source in SOURCES.items())]  # noqa: UP007

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Turns a source into a data set on disk."""

    source: Source
    out: Path
    """Folder to write the data set to; it must not exist, or be empty."""
    overwrite: bool = False
    """Replace a data set that is already in --out, and an unfinished one of other options beside it."""
    seed: int = 0
    """Decides the split by subject, and the synthetic studies."""
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of the subjects for train, validation and test, where the source has no split of its own."""
    num_workers: int = field(default_factory=num_cores)
    """Processes that read images; 1 starts none."""
    image_options: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)

    text_options: Annotated[TextOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=TextOptions)

    def __post_init__(self):
        check_fractions(self.split_fractions)
        if self.num_workers < 1:
            raise ValueError(f"--num-workers is {self.num_workers}; give 1 or more")


def main(argv: list[str] | None = None) -> None:
    """Raises ValueError for what the user can mend: options, the table, an output folder in use, a full disk, nothing
    kept."""
    options = tyro.cli(
        Preparation,
        args=argv,
        prog="python -m data.prepare",
        description=__doc__,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs),
    )
    check_links_apart(options)
    console = Console()
    datasets.disable_progress_bars()
    deciding, saved = deciding_options(options)
    with DatasetWriter(options.out, options=deciding, saved_options=saved, overwrite=options.overwrite) as writer:
        plan = options.source.plan(
            PlanContext(
                seed=options.seed,
                split_fractions=options.split_fractions,
                work=writer.work,
                num_workers=options.num_workers,
            )
        )
        for note in plan.notes:
            console.print(f"Note: {note}", highlight=False)
        if writer.num_done:
            console.print(f"Going on with a run that was broken off: {writer.num_done} of {plan.num_studies} are done.")
        try:
            fill(writer, plan, options, console)
            with console.status("Saving"):
                writer.finish()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise ValueError(writer.room_wanted(plan.num_studies)) from error
    print_summary(writer, plan, console)


def check_links_apart(options: Preparation) -> None:
    """Raises ValueError when what undoes the pseudonyms would go where the data set goes."""
    pseudonym_map = getattr(options.source, "pseudonym_map", None)
    if pseudonym_map and pseudonym_map.resolve().is_relative_to(options.out.resolve()):
        raise ValueError(
            f"--pseudonym-map {pseudonym_map} lies in the data set; keep it apart, it tells who the patients are"
        )


def fill(writer: DatasetWriter, plan: SourcePlan, options: Preparation, console: Console) -> None:
    """Take every raw study of the plan to a row or a rejection."""
    with Progress(
        TextColumn("Preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        StudiesPerSecond(done_before=writer.num_done),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("", total=plan.num_studies, completed=writer.num_done)
        raw_studies = writer.remaining(reject_duplicates(plan.raw_studies))
        build_options = BuildOptions(images=options.image_options, text=options.text_options)
        for raw_study, outcome in build_rows(raw_studies, build_options, num_workers=options.num_workers):
            writer.add(raw_study, outcome)
            progress.advance(task)


def reject_duplicates(raw_studies: Iterator[RawStudy | Rejection]) -> Iterator[RawStudy | Rejection]:
    """The same raw studies; of several with one study id, the second and later ones become rejections."""
    seen = set()
    for raw_study in raw_studies:
        if isinstance(raw_study, Rejection):
            yield raw_study
        elif raw_study.study_id in seen:
            reason = f"study id {raw_study.study_id} occurs before; each study needs an id of its own"
            yield Rejection(study_id=raw_study.study_id, split=raw_study.split, reason=reason, files=raw_study.files)
        else:
            seen.add(raw_study.study_id)
            yield raw_study


class StudiesPerSecond(ProgressColumn):
    """The rate of this run, for the progress bar."""

    def __init__(self, *, done_before: int):
        super().__init__()
        self._done_before = done_before

    def render(self, task: Task) -> Text:
        rate = (task.completed - self._done_before) / task.elapsed if task.elapsed else 0
        return Text(f"{rate:.0f} studies/s")


def deciding_options(options: Preparation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The resolved options that decide what comes out, as JSON can hold them, the source with its name; and the same
    as they are saved, without what a source calls private."""
    values = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    for name in ("out", "overwrite", "num_workers"):
        del values[name]
    values = {"source_name": next(name for name, kind in SOURCES.items() if type(options.source) is kind), **values}
    hidden = dict.fromkeys(getattr(options.source, "PRIVATE_OPTIONS", ()), "not saved: a path may name somebody")
    return values, values | {"source": values["source"] | hidden}


def print_summary(writer: DatasetWriter, plan: SourcePlan, console: Console) -> None:
    """Counts per split and finding, and what was rejected."""
    table = Table(title=f"{writer.out}")
    table.add_column("")
    for split in writer.stats.splits:
        table.add_column(split, justify="right")
    splits = writer.stats.splits
    for name in ("kept", "images", "reports", "labelled"):
        table.add_row(name, *(str(getattr(counts, name)) for counts in splits.values()))
    table.add_section()
    for finding in FINDINGS:
        table.add_row(finding, *(str(counts.positives[finding]) for counts in splits.values()))
    console.print(table)
    for split, counts in splits.items():
        if not counts.kept:
            console.print(f"Note: the split {split} is empty.")
    stats = writer.stats
    if stats.text_changes:
        changes = ", ".join(f"{kind} {count}" for kind, count in stats.text_changes.most_common())
        console.print(f"Changed in texts: {changes}.", highlight=False)
    if stats.warnings:
        console.print(f"Warnings of {stats.warnings} images: see {writer.out / WARNINGS_FILE}.", highlight=False)
    if stats.rejected_images:
        console.print(f"{stats.rejected_images} images were left out of studies that were kept.", highlight=False)
    console.print(f"given {plan.num_studies} = kept {stats.kept} + rejected {stats.rejected}", highlight=False)
    for rejection in writer.first_rejections:
        console.print(f"  rejected {rejection.study_id}: {rejection.reason}", highlight=False, markup=False)
    if stats.rejected or stats.rejected_images:
        console.print(f"All rejections are listed in {writer.out / REJECTED_FILE}.", highlight=False)


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped="stopped; the same command goes on where it was")
