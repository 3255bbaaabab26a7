"""Anybody's predicted reports, judged: figures with intervals beside controls, a verdict in words, a page.

    python -m eval.score predictions.jsonl references.jsonl --output-dir scores
    python -m eval.score both.json                       (one file that holds predictions and references)
    python -m eval.score res.csv annotation.json --control-reports annotation.json --control-split val

Reads JSONL, CSV, TSV, Parquet and JSON with any column names, ReXrank's files and R2Gen's; needs no model, no weights
and no network. Prints the table and the verdict; writes metrics.json and report.html to the output directory.

Options of `python -m eval.score`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from data.cli import run_main
from eval.controls.text import CONSTANTS, TextControls, text_controls
from eval.metrics.bootstrap import NUM_RESAMPLES, Estimate
from eval.metrics.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS, R2GEN_MAX_WORDS, ReferenceVocabulary
from eval.predictions.matching import Matched, MissingPredictions, match
from eval.predictions.prediction import Prediction
from eval.predictions.tables import Columns, ReportTable, read_files, read_table
from eval.report.document import check_consistency, check_grounding, metrics_document
from eval.report.page import render_page
from eval.report.selection import choose_studies
from eval.report.study import page_study
from eval.report.tables import score_table
from eval.scoring.learned import extra_metric_scores, parse_extra_metrics
from eval.scoring.scores import Scores, score_predictions, study_groups
from eval.scoring.verdict import SHUFFLED_REPORTS, constant_facts, laterality_facts, outperformed_by, report_verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Judge a file of predicted reports."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """File of predictions: study ids and reports, with probabilities of findings where there are some."""
    references: Annotated[Path | None, tyro.conf.Positional] = None
    """File of references: study ids and true reports, with labels, patients, views where there are some."""
    output_dir: Path | None = None
    """Where metrics.json and report.html go; without it, figures are only printed."""
    columns: tyro.conf.OmitArgPrefixes[Columns] = field(default_factory=Columns)
    reference_split: str = ""
    """Only references of this split; of R2Gen's annotation.json, test by itself."""
    control_reports: Path | None = None
    """Reports of other studies (training or validation), to choose the controls on."""
    control_split: str = ""
    """Only control reports of this split; of annotation.json, val by itself."""
    control_column: str = ""
    """Column of the control reports."""
    reference_vocabulary: Path | None = None
    """Training reports of a model, to see the references through its vocabulary as most published figures do; read with
    --reference-id-column and --reference-column."""
    reference_vocabulary_split: str = ""
    """Only training reports of this split; of annotation.json, train by itself."""
    reference_max_words: int = 0
    """With a reference vocabulary, references are cut after so many words; 0: as R2Gen did, or not."""
    missing_predictions: MissingPredictions = "leave-out"
    """What a reference without prediction counts as."""
    normalization: Literal[tuple(NORMALIZATIONS)] = DEFAULT_NORMALIZATION
    """What is done to both texts before their words are compared."""
    uncertain: Literal["positive", "negative"] = "positive"
    """How an uncertain finding counts in the main figures; the other way is in metrics.json too."""
    extra_metrics: tuple[str, ...] = ()
    """Learned metrics, each as metric=where: chexbert=FOLDER bertscore=FOLDER radgraph=FOLDER …"""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Of the bootstrap and of the controls."""
    num_page_studies: int = 12
    """Studies shown on the page: a third each the worst, the best, and drawn by lot."""

    def __post_init__(self):
        for name, least in (("num_resamples", 1), ("num_page_studies", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {least}")
        parse_extra_metrics(self.extra_metrics)


NUM_NOTES_SHOWN = 12


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parses, reads, scores, shows; returns the content of metrics.json."""
    config = tyro.cli(ScoreConfig, args=argv, description=__doc__)
    console = Console()
    predictions, references = read_files(config.predictions, config.references, config.columns, config.reference_split)
    matched = match(predictions, references, config.missing_predictions)
    control_table = _control_table(config)
    with console.status("scoring"):
        controls = _controls(config, matched, control_table)
        vocabulary = _vocabulary(config)
        model = _score(config, matched.predictions, "model", vocabulary)
        others = {name: _score(config, given, name, vocabulary) for name, given in controls.predictions.items()}
        document = _document(config, matched, controls, model, others, vocabulary)
        document["run"] = {
            "predictions": predictions.record,
            "references": references.record,
            "control_reports": control_table.record if control_table else None,
        }
    for table in (predictions, references):
        console.print(_said(table), style="dim", markup=False, highlight=False)
    console.print(score_table([model, *others.values()]))
    _print_verdict(console, document)
    if config.output_dir:
        _write(config, document, matched, model)
        for what, name in (("Page", "report.html"), ("Figures", "metrics.json")):
            console.print(f"{what}: {config.output_dir / name}", markup=False, highlight=False, soft_wrap=True)
    return document


def _control_table(config: ScoreConfig) -> ReportTable | None:
    if config.control_reports is None:
        return None
    named = {"text": config.control_column, "study_id": config.columns.reference_id_column}
    return read_table(config.control_reports, "reference", named, split=config.control_split, annotation_split="val")


def _vocabulary(config: ScoreConfig) -> ReferenceVocabulary | None:
    if config.reference_vocabulary is None:
        return None
    named = {"text": config.columns.reference_column, "study_id": config.columns.reference_id_column}
    table = read_table(
        config.reference_vocabulary,
        "reference",
        named,
        split=config.reference_vocabulary_split,
        annotation_split="train",
    )
    return ReferenceVocabulary.from_reports(
        (entry.report for entry in table.entries),
        normalization=config.normalization,
        max_words=config.reference_max_words or R2GEN_MAX_WORDS.get(config.normalization),
    )


def _controls(config: ScoreConfig, matched: Matched, table: ReportTable | None) -> TextControls:
    reports = None
    if table is not None:
        scored = {prediction.study_id for prediction in matched.predictions}
        leaked = [entry.study_id for entry in table.entries if entry.study_id in scored]
        if leaked:
            raise ValueError(
                f"{table.file.path}: {len(leaked)} studies to choose controls on are scored as well, first "
                f"{leaked[0]!r}; give reports of other studies (--control-split train)"
            )
        reports = [entry.report for entry in table.entries if entry.report.strip()]
    return text_controls(
        matched.predictions,
        reports,
        normalization=config.normalization,
        uncertain_is_positive=config.uncertain == "positive",
        seed=config.seed,
    )


def _score(
    config: ScoreConfig, predictions: Sequence[Prediction], name: str, vocabulary: ReferenceVocabulary | None
) -> Scores:
    return score_predictions(
        predictions,
        name=name,
        uncertain_is_positive=config.uncertain == "positive",
        normalization=config.normalization,
        reference_vocabulary=vocabulary,
        num_resamples=config.num_resamples,
        seed=config.seed,
    )


def _document(
    config: ScoreConfig,
    matched: Matched,
    controls: TextControls,
    model: Scores,
    others: dict[str, Scores],
    vocabulary: ReferenceVocabulary | None,
) -> dict[str, Any]:
    verdict = report_verdict(model, others.get(SHUFFLED_REPORTS), controls.not_shuffled)
    constants = {metric: others[name] for metric, name in CONSTANTS.items() if name in others}
    resampling = {"num_resamples": config.num_resamples, "seed": config.seed}
    extra_metrics, failures = extra_metric_scores(
        parse_extra_metrics(config.extra_metrics),
        matched.predictions,
        normalization=config.normalization,
        reference_vocabulary=vocabulary,
        **resampling,
    )
    return metrics_document(
        [model, *others.values()],
        verdict,
        "",
        outperformed=outperformed_by(
            model, {name: scores for name, scores in others.items() if name != SHUFFLED_REPORTS}
        ),
        program="eval.score",
        run={},
        studies={
            "given": matched.num_given,
            "written": len(matched.predictions) - matched.num_filled,
            "rejected": len(matched.rejected),
            "references": matched.num_references,
            "without_prediction": matched.num_missing,
        },
        rejected=[{"study_id": rejection.study_id, "reason": rejection.reason} for rejection in matched.rejected],
        facts=(*constant_facts(model, constants), *laterality_facts(model, others.get(SHUFFLED_REPORTS))),
        groups=study_groups(matched.predictions),
        consistency=check_consistency(
            matched.predictions,
            model,
            uncertain_is_positive=config.uncertain == "positive",
            resampling=resampling,
        ),
        grounding=check_grounding(matched.predictions, model, resampling=resampling),
        extra_metrics=extra_metrics,
        control_reports=controls.reports,
        bootstrap=resampling,
        notes=[*failures, *matched.notes, *controls.notes],
    )


def _write(config: ScoreConfig, document: dict[str, Any], matched: Matched, model: Scores) -> None:
    config.output_dir.mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (config.output_dir / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    by_name = {prediction.study_id: prediction for prediction in matched.predictions}
    likeness = model.per_study.get("rouge_l", [float("nan")] * len(by_name))
    choices = choose_studies(
        matched.predictions,
        likeness,
        config.num_page_studies,
        likeness_name="ROUGE-L",
        seed=config.seed,
    )
    studies = [page_study([], by_name[choice.study_id], group=choice.group, reason=choice.reason) for choice in choices]
    (config.output_dir / "report.html").write_text(render_page(document, studies), encoding="utf-8")


def _said(table: ReportTable) -> str:
    record = table.record
    split = f", split {record['split']}" if record["split"] else ""
    return (
        f"{record['path']}: {record['format']}{split}, {record['num_rows']} rows; studies from column "
        f"{record['study_id_column']!r}, reports from {record['report_column']!r}"
    )


def _print_verdict(console: Console, document: dict[str, Any]) -> None:
    studies, verdict = document["studies"], document["verdict"]
    console.print(
        f"{studies['given']} predictions given = {studies['written']} scored + {studies['rejected']} rejected; "
        f"{studies['without_prediction']} of {studies['references']} references without prediction",
        highlight=False,
    )
    for note in document["notes"][:NUM_NOTES_SHOWN]:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)
    for name, figure in document["extra_metrics"].items():
        estimate = Estimate(**{key: value for key, value in figure.items() if key != "note"})
        console.print(f"{name} {estimate} ({figure['note']})", markup=False, highlight=False)
    style = "bold green" if verdict["uses_image"] == "yes" else "bold yellow"
    console.print(verdict["image"], style=style, markup=False, highlight=False)
    if verdict["outperformed_by"]:
        console.print(verdict["outperformed_by"], style="bold yellow", markup=False, highlight=False)
    for fact in verdict["facts"]:
        console.print(f"- {fact}", markup=False, highlight=False)


if __name__ == "__main__":
    run_main(main)
