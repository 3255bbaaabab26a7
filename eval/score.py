"""Evaluate a file of predicted reports: scores with intervals and controls, a verdict in words, an HTML page.

    python -m eval.score predictions.jsonl references.jsonl --output-dir scores
    python -m eval.score both.json                       (one file with predictions and references)
    python -m eval.score res.csv annotation.json --control-reports annotation.json --control-split val

It reads JSONL, CSV, TSV, Parquet and JSON with any column names, and the files of ReXrank and R2Gen. It needs no model,
no weights and no network. It prints a table and the verdict, and writes metrics.json and report.html to --output-dir.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from data.cli import check_minimum, run_main
from eval.controls.control import Control
from eval.controls.text import text_controls
from eval.metrics.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS, R2GEN_MAX_WORDS, ReferenceVocabulary
from eval.predictions.matching import Matched, MissingPredictions, match
from eval.predictions.subgroups import subgroups_of, table_values
from eval.predictions.tables import ColumnOptions, ReportTable, read_files, read_table
from eval.report.document import Source, evaluate
from eval.report.options import ScoringOptions
from eval.report.page import write_evaluation
from eval.report.selection import select_studies
from eval.report.study import page_study
from eval.report.tables import print_evaluation
from eval.scoring.learned import extra_metric_scores, parse_extra_metrics

GROUPED = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceOptions:
    """References"""

    reference_split: str = ""
    """Use only references of this split; the default for R2Gen's annotation.json is test."""
    reference_vocabulary: Path | None = None
    """Training reports of a model. References are passed through its vocabulary, as in most published results. Read
    with --reference-id-column and --reference-column."""
    reference_vocabulary_split: str = ""
    """Use only training reports of this split; the default for annotation.json is train."""
    reference_max_words: int = 0
    """With a reference vocabulary, truncate references to this many words; 0: as R2Gen does for its normalizations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlOptions:
    """Controls and example studies"""

    control_split: str = ""
    """Use only control reports of this split; the default for annotation.json is val."""
    control_column: str = ""
    """Column of the control reports."""
    num_page_studies: int = 12
    """Number of example studies on the page: a third each the worst, the best, and random."""

    def __post_init__(self):
        check_minimum(self, num_page_studies=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Evaluate a file of predicted reports."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """Predictions: study ids and reports, optionally probabilities of findings."""
    references: Annotated[Path | None, tyro.conf.Positional] = None
    """References: study ids and reference reports, optionally labels, patients and views."""
    output_dir: Path | None = None
    """Folder for metrics.json and report.html; without it, the scores are only printed."""
    control_reports: Path | None = None
    """Reports of other studies (training or validation), from which the controls are chosen."""
    missing_predictions: MissingPredictions = "leave-out"
    """How to count a reference without a prediction."""
    normalization: Literal[tuple(NORMALIZATIONS)] = DEFAULT_NORMALIZATION
    """Normalization of both texts before their words are compared."""
    extra_metrics: tuple[str, ...] = ()
    """Learned metrics, each as metric=where: chexbert=FOLDER bertscore=FOLDER radgraph=FOLDER …"""
    subgroups: tuple[str, ...] = ()
    """Columns of the references or predictions, such as sex, age or manufacturer: scores for each of their groups with
    at least 20 studies. Many different numbers are split into thirds."""
    columns: GROUPED[ColumnOptions] = field(default_factory=ColumnOptions)
    reference: GROUPED[ReferenceOptions] = field(default_factory=ReferenceOptions)
    comparison: GROUPED[ControlOptions] = field(default_factory=ControlOptions)
    scoring: GROUPED[ScoringOptions] = field(default_factory=ScoringOptions)

    def __post_init__(self):
        parse_extra_metrics(self.extra_metrics)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return the content of metrics.json."""
    config = tyro.cli(ScoreConfig, args=argv, description=__doc__)
    console = Console()
    predictions, references = read_files(
        config.predictions, config.references, config.columns, config.reference.reference_split
    )
    matched = match(predictions, references, config.missing_predictions)
    control_table = _control_table(config)
    with console.status("scoring"):
        controls, notes = _controls(config, matched, control_table)
        texts = {"normalization": config.normalization, "reference_vocabulary": _vocabulary(config)}
        resampling = {"num_resamples": config.scoring.num_resamples, "seed": config.scoring.seed}
        extra_metrics, failures = extra_metric_scores(
            parse_extra_metrics(config.extra_metrics), matched.predictions, **texts, **resampling
        )
        source = Source(
            program="eval.score",
            run={
                "predictions": predictions.record,
                "references": references.record,
                "control_reports": control_table.record if control_table else None,
            },
            studies={
                "given": matched.num_given,
                "written": len(matched.predictions) - matched.num_filled,
                "rejected": len(matched.rejected),
                "references": matched.num_references,
                "without_prediction": matched.num_missing,
            },
            rejected=matched.rejected,
            notes=(*failures, *matched.notes, *notes),
        )
        scoring = config.scoring.arguments | texts
        study_ids = [prediction.study_id for prediction in matched.predictions]
        document, scores = evaluate(
            matched.predictions,
            controls,
            source,
            scoring,
            extra_metrics=extra_metrics,
            subgroups=subgroups_of(
                [table_values(table.file, table.record["study_id_column"]) for table in (references, predictions)],
                config.subgroups,
                study_ids,
            ),
        )
    for table in (predictions, references):
        console.print(_description(table), style="dim", markup=False, highlight=False)
    studies = document["studies"]
    console.print(
        f"{studies['given']} predictions given = {studies['written']} scored + {studies['rejected']} rejected; "
        f"{studies['without_prediction']} of {studies['references']} references without prediction",
        highlight=False,
    )
    if config.output_dir:
        selected = select_studies(
            matched.predictions, scores.per_study, config.comparison.num_page_studies, seed=config.scoring.seed
        )
        shown = [page_study([], one.prediction, group=one.group, reason=one.reason) for one in selected]
        write_evaluation(config.output_dir, document, shown)
    print_evaluation(console, document, config.output_dir)
    return document


def _control_table(config: ScoreConfig) -> ReportTable | None:
    if config.control_reports is None:
        return None
    named = {"text": config.comparison.control_column, "study_id": config.columns.reference_id_column}
    split = config.comparison.control_split
    return read_table(config.control_reports, "reference", named, split=split, annotation_split="val")


def _vocabulary(config: ScoreConfig) -> ReferenceVocabulary | None:
    options = config.reference
    if options.reference_vocabulary is None:
        return None
    named = {"text": config.columns.reference_column, "study_id": config.columns.reference_id_column}
    split = options.reference_vocabulary_split
    table = read_table(options.reference_vocabulary, "reference", named, split=split, annotation_split="train")
    return ReferenceVocabulary.from_reports(
        (entry.report for entry in table.entries),
        normalization=config.normalization,
        max_words=options.reference_max_words or R2GEN_MAX_WORDS.get(config.normalization),
    )


def _controls(config: ScoreConfig, matched: Matched, table: ReportTable | None) -> tuple[list[Control], list[str]]:
    reports = None
    if table is not None:
        scored = {prediction.study_id for prediction in matched.predictions}
        leaked = [entry.study_id for entry in table.entries if entry.study_id in scored]
        if leaked:
            raise ValueError(
                f"{table.file.path}: {len(leaked)} studies of the control reports are also scored, the first is "
                f"{leaked[0]!r}; give reports of other studies (--control-split train)"
            )
        reports = [entry.report for entry in table.entries if entry.report.strip()]
    return text_controls(
        matched.predictions,
        reports,
        normalization=config.normalization,
        uncertain_is_positive=config.scoring.uncertain_is_positive,
        seed=config.scoring.seed,
    )


def _description(table: ReportTable) -> str:
    record = table.record
    split = f", split {record['split']}" if record["split"] else ""
    return (
        f"{record['path']}: {record['format']}{split}, {record['num_rows']} rows; study ids from column "
        f"{record['study_id_column']!r}, reports from {record['report_column']!r}"
    )


if __name__ == "__main__":
    run_main(main)
