"""Generate reports for a split of a data set and evaluate them: predictions, scores with controls, an HTML page.

    python eval/batch.py --dataset studies --split test --output-dir runs/mine/test --checkpoint runs/mine/best
    accelerate launch --num_processes 4 eval/batch.py …          (the processes share the studies)

The output directory gets predictions.jsonl (one line per study, written as soon as it is done), a predictions_….jsonl
for each control that runs the model, rejected.jsonl, metrics.json and report.html. An interrupted run resumes with the
same command; a run with other controls adds them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import datasets
import tyro
from accelerate import PartialState
from rich.console import Console

from data.cli import check_minimum, run_main
from data.study import IMAGE_COLUMNS, SPLITS, load_studies, saved_preprocessing
from eval.checks.grounding import Point, frequent_locations
from eval.controls.control import Control
from eval.controls.images import ModelControlOptions, model_controls
from eval.controls.text import split_controls
from eval.predictions.columns import KNOWN_COLUMNS
from eval.predictions.files import open_report_file
from eval.predictions.generate import GenerationRun, Job, Written, write_predictions
from eval.predictions.prediction import boxes_of, write_lines
from eval.predictions.processes import progress, start_processes
from eval.predictions.run import RunRecord, claim_folder, dataset_hash
from eval.predictions.subgroups import Values, subgroups_of, table_values
from eval.report.document import Source, evaluate
from eval.report.heatmaps import page_studies
from eval.report.options import ScoringOptions
from eval.report.page import write_evaluation
from eval.report.selection import select_studies
from eval.report.tables import print_evaluation
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, fetch_checkpoint, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint
from vlm.precision import Precision
from vlm.uncertainty import load_calibration

ControlKind = Literal[
    *("shuffled", "blank", "mismatched", "views", "prior", "nearest", "random", "constant", "frequent", "source")
]
GROUPED = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingOptions:
    """Decoding"""

    max_new_tokens: int = GenerationOptions().max_new_tokens
    """Maximum length of a report in tokens."""
    num_beams: int = 1
    """Number of beams; 1 means greedy decoding."""
    num_candidates: int = 1
    """If a report has an error (`eval.checks.candidates`), write this many reports and keep the one with the fewest
    errors. 8 is a good number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlOptions:
    """Controls and example studies"""

    neighbor_pool: int = 5000
    """Number of training studies, drawn at random, to search for the nearest neighbor; 0: all."""
    num_page_studies: int = 12
    """Number of example studies on the page: a third each the worst, the best, and random."""

    def __post_init__(self):
        check_minimum(self, neighbor_pool=0, num_page_studies=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Generate reports for a split and evaluate them."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    dataset: Path
    """Prepared data set, as written by `python -m data.prepare`."""
    output_dir: Path
    """Folder for predictions, scores and the page. An interrupted run in it is resumed."""
    split: Literal["train", "validation", "test"] = "test"
    """Split to evaluate."""
    num_studies: int = 0
    """Evaluate only the first studies of the split, this many; 0: all."""
    batch_size: int = 16
    """Studies per batch; memory grows with it."""
    precision: Precision = "fp32"
    """int8 is faster on a CPU, but about half of the reports differ in some words, and text scores fall slightly
    (docs/RESULTS.md). The baseline has the same precision."""
    controls: tuple[ControlKind, ...] = (
        *("shuffled", "blank", "prior", "nearest", "random", "constant", "frequent", "source"),
    )
    """Controls to compare the model with; give no value for none. "shuffled" (another patient's images; it shows if the
    image is used) and "mismatched" (wrong view positions) take as long as the reports themselves; "blank" (no image)
    takes less; "views" (another patient's lateral or frontal views, and one kind of view alone; it shows if both are
    used) writes four more reports for each study with both; "prior" (another patient's prior study, the study as its
    own prior, and none) writes three more reports for each study with a prior; "nearest" (the report of the most
    similar training study) encodes the training studies; the others are fast. "source" is left out if all studies have
    one source."""
    baseline: str = ""
    """Another checkpoint, such as an LSTM model, to evaluate on the same studies; it takes as long as the model."""
    subgroups: tuple[str, ...] = ()
    """Columns of the data set or of --subgroup-table, such as sex, age or manufacturer: scores for each of their groups
    with at least 20 studies. Many different numbers are split into thirds."""
    subgroup_table: Path | None = None
    """Table (CSV, JSONL, Parquet) with study ids and these columns."""
    operating_point: str = "f1"
    """Thresholds of the model's findings: f1, or a target on validation studies such as sensitivity=0.9 or
    specificity=0.9. If the reports of the checkpoint state what the classifier decides, they follow."""
    decoding: GROUPED[DecodingOptions] = field(default_factory=DecodingOptions)
    comparison: GROUPED[ControlOptions] = field(default_factory=ControlOptions)
    scoring: GROUPED[ScoringOptions] = field(default_factory=ScoringOptions)

    def __post_init__(self):
        check_minimum(self, num_studies=0, batch_size=1)
        OperatingPoint.parse(self.operating_point)


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(BatchConfig, args=argv, description=__doc__)
    processes = start_processes()
    console = Console(quiet=not processes.is_main_process)
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    studies, splits = _load_studies(config)
    if config.baseline:
        fetch_checkpoint(config.baseline)  # a wrong name must fail before hours of work
    _subgroups(config, studies, studies["study_id"][:])  # a wrong column or table too
    point = OperatingPoint.parse(config.operating_point)
    if point != BEST_F1:
        load_calibration(fetch_checkpoint(config.checkpoint)).at(point)  # fails before the folder is claimed
    record = _claim_output(config, splits, processes)
    generator = ReportGenerator.from_pretrained(config.checkpoint, device=processes.device, precision=config.precision)
    generator = generator.at(point)
    _warn_if_preprocessing_differs(config, generator, console)
    _warn_of_unread_priors(config, generator, studies, console)
    written, controls = _generate(config, generator, studies, splits.get("train"), record, processes, console)
    if not processes.is_main_process:
        return
    counts = _save_rejections(config, studies, written, controls)
    console.print(f"{counts['written']} of {counts['given']} studies reported, {counts['rejected']} rejected")
    if not written.predictions:
        raise ValueError(f"no study could be reported on; {config.output_dir / 'rejected.jsonl'} says why")
    with console.status("scoring"):
        predictions = list(written.predictions.values())
        text, notes = split_controls(
            predictions,
            splits,
            kinds=config.controls,
            uncertain_is_positive=config.scoring.uncertain_is_positive,
            seed=config.scoring.seed,
        )
        controls += text
        if not generator.writes_reports:
            notes = [*notes, "the model was not trained on reports and writes none: only its probabilities are scored"]
        document, scores = evaluate(
            predictions,
            controls,
            Source(program="eval.batch", run=asdict(record), studies=counts, rejected=written.rejections, notes=notes),
            config.scoring.arguments,
            frequent_locations=_frequent_locations(splits.get("train")),
            subgroups=_subgroups(config, studies, list(written.predictions)),
        )
        selected = select_studies(
            predictions, scores.per_study, config.comparison.num_page_studies, seed=config.scoring.seed
        )
        write_evaluation(config.output_dir, document, page_studies(generator, studies, selected))
    print_evaluation(console, document, config.output_dir)


def _load_studies(config: BatchConfig) -> tuple[datasets.Dataset, datasets.DatasetDict]:
    splits = load_studies(config.dataset)
    if config.split not in splits or not len(splits[config.split]):
        there = ", ".join(split for split in SPLITS if split in splits and len(splits[split]))
        raise ValueError(f"{config.dataset} has no studies in split {config.split!r}; choose --split of: {there}")
    studies = splits[config.split]
    if config.num_studies:
        studies = studies.select(range(min(config.num_studies, len(studies))))
    return studies, splits


def _claim_output(config: BatchConfig, splits: datasets.DatasetDict, processes: PartialState) -> RunRecord:
    """Write run.json, or check that the folder holds this run."""
    record = RunRecord(
        checkpoint=config.checkpoint,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        dataset=str(config.dataset),
        dataset_hash=dataset_hash(splits[config.split]),
        split=config.split,
        num_studies=config.num_studies,
        max_new_tokens=config.decoding.max_new_tokens,
        num_beams=config.decoding.num_beams,
        num_candidates=config.decoding.num_candidates,
        precision=config.precision,
        operating_point=str(OperatingPoint.parse(config.operating_point)),
    )
    if processes.is_main_process:
        claim_folder(config.output_dir, record)
    processes.wait_for_everyone()
    claim_folder(config.output_dir, record)
    return record


def _warn_if_preprocessing_differs(config: BatchConfig, generator: ReportGenerator, console: Console) -> None:
    given, trained = saved_preprocessing(config.dataset), generator.config.preprocessing
    if given != trained:
        console.print(
            f"[yellow]Warning:[/] the images of the data set were preprocessed with {given}, but the model was trained "
            f"on images preprocessed with {trained}; prepare the data set with the same options",
            highlight=False,
        )


def _warn_of_unread_priors(
    config: BatchConfig, generator: ReportGenerator, studies: datasets.Dataset, console: Console
) -> None:
    positions = studies["prior_view_positions"][:] if "prior_view_positions" in studies.column_names else []
    if any(positions) and not generator.reads_priors:
        console.print(
            f"[yellow]Warning:[/] {sum(map(bool, positions))} of {len(studies)} studies have a prior study, but "
            f"{config.checkpoint} was not trained with prior studies; it reports without them",
            highlight=False,
            soft_wrap=True,
        )


def _generate(
    config: BatchConfig,
    generator: ReportGenerator,
    studies: datasets.Dataset,
    training: datasets.Dataset | None,
    record: RunRecord,
    processes: PartialState,
    console: Console,
) -> tuple[Written, list[Control]]:
    """Generate the reports of the model and of the controls that run a model."""
    with progress(console) as track:
        run = GenerationRun(
            generator=generator,
            studies=studies,
            folder=config.output_dir,
            options=GenerationOptions(**asdict(config.decoding)),
            batch_size=config.batch_size,
            processes=processes,
            track=track,
        )
        written = write_predictions(run, [Job(study=row, images_of=row) for row in range(len(studies))])
        options = ModelControlOptions(
            kinds=config.controls,
            baseline=config.baseline,
            neighbor_pool=config.comparison.neighbor_pool,
            seed=config.scoring.seed,
        )
        controls = model_controls(run, training, list(written.predictions.values()), record, options)
    return written, controls


def _save_rejections(
    config: BatchConfig, studies: datasets.Dataset, written: Written, controls: Sequence[Control]
) -> dict[str, int]:
    """Write rejected.jsonl and return the counts of studies."""
    rejections = [*written.rejections, *(rejection for control in controls for rejection in control.rejections)]
    write_lines(config.output_dir / "rejected.jsonl", rejections)
    counts = {"given": len(studies), "written": len(written.predictions), "rejected": len(written.rejections)}
    if counts["written"] + counts["rejected"] != counts["given"]:
        raise RuntimeError(f"studies were lost: {counts}")  # pragma: no cover
    return counts


def _subgroups(config: BatchConfig, studies: datasets.Dataset, study_ids: Sequence[str]) -> dict[str, list[str]]:
    """The group of each study by the columns of --subgroups; those of the table come first."""
    columns = [column for column in studies.column_names if column not in (*IMAGE_COLUMNS, "boxes")]
    given = [
        Values(
            where=str(config.dataset),
            columns=columns,
            of=lambda column: dict(zip(studies["study_id"], studies[column], strict=True)),
        )
    ]
    if config.subgroup_table is not None:
        known = KNOWN_COLUMNS | {column.lower() for column in config.subgroups}
        given.insert(0, table_values(open_report_file(config.subgroup_table, known)))
    return subgroups_of(given, config.subgroups, study_ids)


def _frequent_locations(training: datasets.Dataset | None) -> dict[tuple[int, bool], Point] | None:
    """Locations of findings in the training studies; None if no study has a box."""
    if training is None:
        return None
    rows = training.select_columns(["boxes", "view_positions"])
    return frequent_locations([boxes_of(row) for row in rows], rows["view_positions"][:]) or None


if __name__ == "__main__":
    run_main(main)
