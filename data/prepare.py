"""Prepare a data set: read the studies of a source, and write a folder with train, validation and test.

    python -m data.prepare synthetic --num-studies 1000 --out runs/studies
    python -m data.prepare table labels.csv --image-column image --out runs/studies
    python -m data.prepare table --help

`data.study.load_studies` reads the folder. Studies that cannot be used are listed with the reason in rejected.jsonl;
kept + rejected = given. An interrupted run resumes when the same command is run again.
"""

# To add a source: write a dataclass with its options and a method `plan`, and add it to SOURCES.

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Union

import datasets
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from data.cli import run_main
from data.pipeline.raw_study import ImageOptions, PlanContext, RawStudy, Rejection, SourcePlan
from data.pipeline.rejected import first_reason, rejections
from data.pipeline.row import BuildOptions
from data.pipeline.workers import build_rows, num_cores
from data.pipeline.writer import DatasetWriter
from data.reports.clean import TextOptions
from data.reports.readability import ENGLISH_ONLY
from data.sources.corrections import CorrectionsSource
from data.sources.dicom_archive import DicomSource
from data.sources.kermany import KermanySource
from data.sources.mimic_cxr import MimicSource
from data.sources.nih import NihSource
from data.sources.open_i import OpenISource
from data.sources.table import TableSource
from data.study import REJECTED_FILE, SPLITS, WARNINGS_FILE, check_fractions
from data.synthetic.source import SyntheticSource
from vlm.schema.findings import FINDINGS

SOURCES = {
    "table": TableSource,
    "open_i": OpenISource,
    "mimic_cxr": MimicSource,
    "kermany": KermanySource,
    "nih": NihSource,
    "dicom": DicomSource,
    "corrections": CorrectionsSource,
    "synthetic": SyntheticSource,
}
Source = Union[tuple(Annotated[source, tyro.conf.subcommand(name)] for name, source in SOURCES.items())]  # noqa: UP007

SHOWN_REASONS = 12
TOO_MANY_REJECTED = 1
"""Exit status if more studies were rejected than --max-rejected allows."""
STOPPED_MESSAGE = "stopped; run the same command again to resume"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Source, output folder and splits."""

    source: Source
    out: Path
    """Folder to write the data set to. It must be new or empty."""
    overwrite: bool = False
    """Replace a data set that is already in --out, and an unfinished run with other options."""
    seed: int = 0
    """Random seed of the split by subject, and of synthetic studies."""
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Fractions of the subjects for train, validation and test, if the source has no split of its own."""
    num_workers: int = field(default_factory=num_cores)
    """Number of processes that read images. 1 reads them in the main process."""
    max_rejected: int | float | None = None
    """Exit with status 1 if more studies are rejected: a number (20) or a share of all (0.05). Everything is written
    all the same."""
    image_options: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)
    text_options: Annotated[TextOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=TextOptions)

    def __post_init__(self):
        check_fractions(self.split_fractions)
        if self.num_workers < 1:
            raise ValueError(f"--num-workers is {self.num_workers}; give 1 or more")
        limit = self.max_rejected
        if limit is not None and (limit < 0 or (isinstance(limit, float) and limit > 1)):
            raise ValueError(f"--max-rejected is {limit}; give a number of studies, or a share from 0.0 to 1.0")


def main(argv: list[str] | None = None) -> int:
    """Prepare a data set; returns the exit status.

    Raises:
        ValueError: what the user can fix: options, the source, an output folder in use, a disk that is full or
            read-only, or no usable study.
    """
    options = tyro.cli(
        Preparation,
        args=argv,
        prog="python -m data.prepare",
        description=__doc__,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs),
    )
    check_pseudonym_map(options)
    console = Console()
    datasets.disable_progress_bars()
    all_options, saved_options = resolved_options(options)
    with DatasetWriter(
        options.out, options=all_options, saved_options=saved_options, overwrite=options.overwrite
    ) as writer:
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
            console.print(f"Resuming an interrupted run: {writer.num_done} of {plan.num_studies} studies are done.")
        fill(writer, plan, options, console)
        with console.status("Saving"):
            writer.finish()
    print_summary(writer, console)
    return check_rejected(writer, options.max_rejected)


def check_rejected(writer: DatasetWriter, max_rejected: float | None) -> int:
    """The exit status: TOO_MANY_REJECTED if more studies were rejected than allowed. A float is a share of all."""
    if max_rejected is None:
        return 0
    rejected = writer.stats.total("rejected")
    limit = max_rejected * writer.num_studies if isinstance(max_rejected, float) else max_rejected
    if rejected <= limit:
        return 0
    print(
        f"error: {rejected} of {writer.num_studies} studies were rejected, and --max-rejected allows {max_rejected}; "
        f"the reasons are in {writer.out / REJECTED_FILE}",
        file=sys.stderr,
    )
    return TOO_MANY_REJECTED


def check_pseudonym_map(options: Preparation) -> None:
    """Raises ValueError if the file that reverses the pseudonyms would be part of the data set."""
    pseudonym_map = getattr(options.source, "pseudonym_map", None)
    if pseudonym_map and pseudonym_map.resolve().is_relative_to(options.out.resolve()):
        raise ValueError(
            f"--pseudonym-map {pseudonym_map} is inside --out; keep it elsewhere, because it identifies the patients"
        )


def fill(writer: DatasetWriter, plan: SourcePlan, options: Preparation, console: Console) -> None:
    """Turn every raw study of the plan into a row or a rejection."""
    with Progress(
        TextColumn("Preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} studies/s"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("", total=plan.num_studies, completed=writer.num_done, rate=0)
        start = time.monotonic()
        raw_studies = writer.remaining(reject_duplicates(plan.raw_studies), num_studies=plan.num_studies)
        build_options = BuildOptions(images=options.image_options, text=options.text_options)
        outcomes = build_rows(raw_studies, build_options, num_workers=options.num_workers)
        for number, (raw_study, outcome) in enumerate(outcomes, start=1):
            writer.add(raw_study, outcome)
            progress.update(task, advance=1, rate=number / (time.monotonic() - start))


def reject_duplicates(raw_studies: Iterator[RawStudy | Rejection]) -> Iterator[RawStudy | Rejection]:
    """Replace raw studies with a study id that occurred before by rejections."""
    seen = set()
    for raw_study in raw_studies:
        if isinstance(raw_study, Rejection):
            yield raw_study
        elif raw_study.study_id in seen:
            yield Rejection.of(raw_study, f"study id {raw_study.study_id} occurs before; each study needs its own id")
        else:
            seen.add(raw_study.study_id)
            yield raw_study


def resolved_options(options: Preparation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that determine the result, as JSON values, with the name of the source; and the same without private
    options, as they are saved."""
    values = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    for name in ("out", "overwrite", "num_workers", "max_rejected"):
        del values[name]
    values = {"source_name": next(name for name, kind in SOURCES.items() if type(options.source) is kind), **values}
    hidden = dict.fromkeys(getattr(options.source, "PRIVATE_OPTIONS", ()), "not saved: a path may name a person")
    return values, values | {"source": values["source"] | hidden}


def print_summary(writer: DatasetWriter, console: Console) -> None:
    """Print counts per split and finding, and what was rejected."""
    stats = writer.stats
    table = Table("", *(Column(split, justify="right") for split in SPLITS), title=f"{writer.out}")
    for names in (("kept", "images", "reports", "labeled", "priors"), FINDINGS):
        for name in names:
            table.add_row(name, *(str(stats.of_split(split, name)) for split in SPLITS))
        table.add_section()
    console.print(table)
    for split in SPLITS:
        if not stats.of_split(split, "kept"):
            console.print(f"Note: the split {split} is empty.")
    kept, rejected, rejected_images, warnings = map(stats.total, ("kept", "rejected", "rejected_images", "warnings"))
    if changes := stats.by_kind("text_changes"):
        changes = ", ".join(f"{kind} {count}" for kind, count in changes.items())
        console.print(f"Changes to texts: {changes}.", highlight=False)
    if image_warnings := stats.by_kind("image_warnings"):
        about = f" about {warnings} images" if warnings else ""
        console.print(f"Warnings{about}: see {writer.out / WARNINGS_FILE}.", highlight=False)
        for kind, count in image_warnings.items():
            console.print(f"  {count} times: {kind}", highlight=False)
    for problem, count in stats.by_kind("reading_problems").items():
        num_reports = stats.total("reports")
        severity = "Warning: most reports" if count > num_reports / 2 else "Note: some reports"
        console.print(f"{severity} {problem} ({count} of {num_reports}). {ENGLISH_ONLY}", highlight=False)
    if rejected_images:
        console.print(f"{rejected_images} images were left out of kept studies.", highlight=False)
    console.print(f"given {writer.num_studies} = kept {kept} + rejected {rejected}", highlight=False)
    if rejected or rejected_images:
        reasons = rejections(writer.out)["reasons"]
        for reason in reasons[:SHOWN_REASONS]:
            what = "rejected" if reason["rejected"] == "studies" else "left out an image of"
            first = f"{reason['examples'][0]['study_id']}: {first_reason(reason)}"
            console.print(f"  {what} {first}", highlight=False, markup=False)
        if more := reasons[SHOWN_REASONS:]:
            console.print(f"  {sum(reason['count'] for reason in more):,} for {len(more)} other reasons")
        console.print(f"All rejections are listed in {writer.out / REJECTED_FILE}.", highlight=False)


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped=STOPPED_MESSAGE)
