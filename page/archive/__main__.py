"""Reports for an archive of studies, on one machine or a cluster, with Ray Data (extra `scale`).

    python -m page.archive --input manifest.parquet --output reports --num-workers 2
    python -m page.archive --input FOLDER --output reports --checkpoint runs/mine --device cuda --num-workers 4
    python -m page.archive --input prepared --output reports --address auto          # in a running Ray cluster

The input is a Parquet manifest (`page.archive.inputs` explains its columns), a folder of studies, or a prepared data
set. The output folder gets Parquet files with one row for each study, also for those that cannot be read (state
"rejected", with the reason); `page.study.row` explains the columns. Run the same command again after an interruption,
and it continues: studies that have a row are not read again. At the end, the program counts the rows in the files:
studies in = read + blocked + rejected, and none twice.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import tyro

from data.cli import check_minimum, run_main
from page.archive.output import ReportFolder, RunRecord, rows_table
from page.archive.reader import WorkerOptions
from page.study.read import DEFAULT_GENERATION, check_num_candidates
from page.study.record import checkpoint_identity
from page.study.row import BLOCKED, READ, REJECTED, model_name, rejected_row
from page.study.worklist import ReadOptions
from vlm.checkpoint.store import SHIPPED, fetch_checkpoint, model_line
from vlm.config import ReportModelConfig
from vlm.generator import GenerationOptions
from vlm.operating_point import OperatingPoint
from vlm.precision import Precision
from vlm.schema.strict_json import read_json
from vlm.uncertainty import load_calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveOptions:
    """Write the reports of all studies of an archive."""

    input: Path
    """Parquet manifest, folder of studies, or prepared data set."""
    output: Path
    """Folder for the Parquet files. An interrupted run in it is continued."""
    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id; on a cluster, every machine must have it. The default is included in the project."""
    split: str = ""
    """Split of a prepared data set. Default: all."""
    address: str = ""
    """Address of a Ray cluster, or auto. Default: this machine alone."""
    num_workers: int = 1
    """Number of workers; each loads the model once."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the workers run the model."""
    cpus_per_worker: int = 1
    """Processor cores of a worker."""
    gpus_per_worker: float = 1.0
    """GPUs of a worker with --device cuda; 0.5 puts two workers on one GPU."""
    batch_size: int = 8
    """Studies that the model reads at a time; memory grows with it."""
    studies_per_file: int = 500
    """Rows of a Parquet file. If the program is killed, about this many studies are read again."""
    write_anyway: bool = False
    """Write reports despite image warnings."""
    max_new_tokens: int = DEFAULT_GENERATION.max_new_tokens
    """Maximum length of a report, in tokens."""
    num_candidates: int = DEFAULT_GENERATION.num_candidates
    """If a report has an error (it disagrees with the findings or with itself, …), write this many reports and keep
    the one with the fewest errors. 1 takes less time, but names a wrong side more often."""
    operating_point: str = "f1"
    """Thresholds of the findings: f1, or a target on validation studies such as sensitivity=0.9 or specificity=0.9. If
    the reports of the checkpoint state what the classifier decides, they follow."""
    precision: Precision = "fp32"
    """int8 is faster on a CPU, but about half of the reports differ in some words, and text scores fall slightly
    (docs/RESULTS.md)."""
    include_identity: bool = False
    """Keep names, dates and numbers of persons in the texts. Names of studies and files are always kept."""
    structured: bool = False
    """Write the findings by organ system; no sentence is changed or lost."""

    def __post_init__(self):
        check_minimum(self, num_workers=1, cpus_per_worker=1, batch_size=1, studies_per_file=1, max_new_tokens=1)
        if self.gpus_per_worker <= 0:
            raise ValueError(f"--gpus-per-worker is {self.gpus_per_worker}; give more than 0")
        check_num_candidates(self.num_candidates)
        if self.precision == "int8" and self.device != "cpu":
            raise ValueError(f"--precision int8 works on a CPU only, and --device is {self.device}; leave one out")
        OperatingPoint.parse(self.operating_point)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, start Ray, and write a row for every study that has none."""
    options = tyro.cli(ArchiveOptions, args=argv, description=__doc__)
    if Path(options.checkpoint).is_dir():  # workers run in other folders
        options = replace(options, checkpoint=str(Path(options.checkpoint).resolve()))
    worker = worker_options(options)
    if importlib.util.find_spec("ray") is None:
        raise ValueError(
            "Ray is not installed; install it in the checkout: pip install -c constraints.txt -e '.[scale]'"
        )
    from page.archive.inputs import open_input  # these need Ray
    from page.archive.run import connected, read_archive

    print(model_line(options.checkpoint), file=sys.stderr, flush=True)
    record = RunRecord(
        model=worker.model,
        program_version=version("cxrscribe"),
        max_new_tokens=options.max_new_tokens,
        write_anyway=options.write_anyway,
        include_identity=options.include_identity,
        structured=options.structured,
        num_candidates=options.num_candidates,
    )
    reads_priors = read_json(fetch_checkpoint(options.checkpoint) / "config.json", ReportModelConfig).prior
    archive = open_input(options.input, split=options.split, skipped=[options.output], reads_priors=reads_priors)
    for note in archive.notes:
        print(f"note: {note}", file=sys.stderr)
    with ReportFolder(options.output, record, rows_per_file=options.studies_per_file) as reports:
        num_before = sum(study in reports.done for study in archive.ids)
        rejections = archive.rejections.items()
        reports.add(rows_table(rejected_row(study, *found, model=worker.model) for study, found in rejections))
        if not reports.done.issuperset(archive.ids):
            with connected(options.address, worker, num_workers=options.num_workers):
                read_archive(archive, reports, worker, num_workers=options.num_workers)
    counts = reports.counts(archive.ids)
    parts = [f"{counts[state]} {state}" for state in (READ, BLOCKED, REJECTED)]
    before = f"; {num_before} of them had a row before" if num_before else ""
    print(f"{len(archive.ids)} studies = {' + '.join(parts)}{before}. {options.output}")
    if others := len(reports.done) - len(archive.ids):
        print(f"note: {others} rows are of studies that are not in the input now", file=sys.stderr)


def worker_options(options: ArchiveOptions) -> WorkerOptions:
    """What each worker does.

    Raises:
        ValueError: the checkpoint cannot be used, or not at this operating point.
    """
    point = OperatingPoint.parse(options.operating_point)
    load_calibration(fetch_checkpoint(options.checkpoint)).at(point)
    identity = checkpoint_identity(options.checkpoint, options.precision)
    reading = ReadOptions(
        generation=GenerationOptions(max_new_tokens=options.max_new_tokens, num_candidates=options.num_candidates),
        write_anyway=options.write_anyway,
        include_identity=options.include_identity,
        by_system=options.structured,
    )
    return WorkerOptions(
        checkpoint=options.checkpoint,
        model=model_name(identity, point),
        device=options.device,
        num_cpus=options.cpus_per_worker,
        num_gpus=options.gpus_per_worker if options.device == "cuda" else 0.0,
        batch_size=options.batch_size,
        reading=reading,
        precision=options.precision,
        operating_point=point,
    )


if __name__ == "__main__":
    run_main(main)
