"""Two systems on the same studies: is one better, by how much, and could it be chance?

    python -m eval.compare predictions_a.jsonl predictions_b.jsonl references.jsonl --output comparison.json

Reads files as eval.score does. For each metric: both figures, the paired difference with its 95 % interval over
patients, the p-value of paired approximate randomisation, and on how many studies which system does better.

Two systems scored on the same studies, metric by metric: how large the difference is, whether it could be chance,
and what it means study by study and finding by finding.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from data.cli import run_main
from data.reports.labeler.labeler import label_report
from eval.metrics.bootstrap import NUM_RESAMPLES, Estimate
from eval.metrics.clinical import is_positive
from eval.metrics.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS
from eval.predictions.matching import match
from eval.predictions.prediction import Prediction
from eval.predictions.tables import Columns, read_files
from eval.scoring.randomization import holm_adjusted, randomization_p_values
from eval.scoring.scores import METRICS, Scores, paired_difference, score_predictions
from vlm.schema.findings import FINDING_INDEX, UNLABELED
from vlm.schema.number_format import format_number

COMPARED = (
    "macro_f1", "micro_f1", "macro_f1_5", "micro_f1_5", "state_agreement", "macro_auroc", "macro_average_precision",
    "macro_brier", "cider", "rouge_l", "meteor", "chrf", "bleu_4", "bleu_1",
)  # fmt: skip
SIGNIFICANT = 0.05


def compare(first: Scores, second: Scores, num_swaps: int, seed: int = 0) -> dict[str, Any]:
    """Every metric that both have: figures, paired difference (first - second), p-value alone and for all metrics
    together, and the number of studies on which each is better."""
    known = [
        metric
        for metric in COMPARED
        if first.metrics[metric].value is not None and second.metrics[metric].value is not None
    ]
    p_values = randomization_p_values(first.statistics, second.statistics, first.subject_ids, known, num_swaps, seed)
    adjusted = dict(zip(known, holm_adjusted([p_values[metric] for metric in known]), strict=True))
    metrics = {
        metric: {
            "a": asdict(first.metrics[metric]),
            "b": asdict(second.metrics[metric]),
            "difference": asdict(paired_difference(first, second, metric)),
            "p_value": p_values[metric],
            "p_value_all_metrics": adjusted[metric],
            "studies": _better(first, second, metric),
        }
        for metric in known
    }
    document = {
        "num_studies": len(first.study_ids),
        "num_patients": len(set(first.subject_ids)),
        "num_swaps": num_swaps,
        "p_value_resolution": 1 / (num_swaps + 1),
        "seed": seed,
        "metrics": metrics,
    }
    return document | {"verdict": _verdict(metrics)}


def finding_changes(
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    uncertain_is_positive: bool = True,
) -> dict[str, int]:
    """True findings that only one of the systems names, and false ones, over all studies; No Finding left out."""
    counted = [index for finding, index in FINDING_INDEX.items() if finding != "No Finding"]
    truth = np.array([prediction.reference_labels for prediction in first])[:, counted]
    said = [
        is_positive(
            np.array([label_report(prediction.report) for prediction in given])[:, counted], uncertain_is_positive
        )
        for given in (first, second)
    ]
    is_true, is_false = is_positive(truth, uncertain_is_positive), ~is_positive(truth, uncertain_is_positive)
    is_false &= truth != UNLABELED
    return {
        "true": int(is_true.sum()),
        "true_found_by_both": int((is_true & said[0] & said[1]).sum()),
        "true_found_by_a_only": int((is_true & said[0] & ~said[1]).sum()),
        "true_found_by_b_only": int((is_true & said[1] & ~said[0]).sum()),
        "false_by_a_only": int((is_false & said[0] & ~said[1]).sum()),
        "false_by_b_only": int((is_false & said[1] & ~said[0]).sum()),
    }


def _better(first: Scores, second: Scores, metric: str) -> dict[str, int] | None:
    if metric not in first.per_study or metric not in second.per_study:
        return None
    difference = first.per_study[metric] - second.per_study[metric]
    difference = difference[~np.isnan(difference)]
    is_same = np.abs(difference) < 1e-9
    return {
        "a_better": int(((difference > 0) & ~is_same).sum()),
        "b_better": int(((difference < 0) & ~is_same).sum()),
        "same": int(is_same.sum()),
    }


def _verdict(metrics: dict[str, Any]) -> str:
    """One sentence: by macro-F1 of the findings, or else by CIDEr."""
    metric = next((metric for metric in ("macro_f1", "cider") if metric in metrics), None)
    if metric is None:
        return "The systems cannot be compared: no study has a reference."
    figures = metrics[metric]
    difference = figures["difference"]
    if difference["low"] is None or figures["p_value"] > SIGNIFICANT or difference["low"] <= 0 <= difference["high"]:
        claim = "Neither system is shown to be better"
    else:
        better, worse = ("A", "B") if difference["value"] > 0 else ("B", "A")
        claim = f"{better} is better than {worse}"
    return (
        f"{claim} in {METRICS[metric]}: {format_number(figures['a']['value'])} against "
        f"{format_number(figures['b']['value'])}, p = {p_value_text(figures['p_value'])}."
    )


def p_value_text(value: float) -> str:
    """Two digits, as many as a p-value deserves."""
    return f"{value:.2g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """Compare two files of predicted reports, A and B."""

    predictions_a: Annotated[Path, tyro.conf.Positional]
    """Predictions of system A."""
    predictions_b: Annotated[Path, tyro.conf.Positional]
    """Predictions of system B."""
    references: Annotated[Path, tyro.conf.Positional]
    """References of both."""
    output: Path | None = None
    """JSON file for the figures."""
    columns: tyro.conf.OmitArgPrefixes[Columns] = field(default_factory=Columns)
    reference_split: str = ""
    """Only references of this split; of R2Gen's annotation.json, test by itself."""
    normalization: Literal[tuple(NORMALIZATIONS)] = DEFAULT_NORMALIZATION
    """What is done to all texts before their words are compared."""
    uncertain: Literal["positive", "negative"] = "positive"
    """How an uncertain finding counts."""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals, and swaps for the p-values."""
    seed: int = 0
    """Of both."""

    def __post_init__(self):
        if self.num_resamples < 1:
            raise ValueError(f"--num-resamples is {self.num_resamples}; give at least 1")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parses, reads, compares, shows; returns what is saved."""
    config = tyro.cli(CompareConfig, args=argv, description=__doc__)
    console = Console()
    first, second, notes = shared_predictions(config)
    first_scores, second_scores = (
        score_predictions(
            predictions,
            name=name,
            uncertain_is_positive=config.uncertain == "positive",
            normalization=config.normalization,
            num_resamples=config.num_resamples,
            seed=config.seed,
        )
        for name, predictions in (("A", first), ("B", second))
    )
    comparison = compare(first_scores, second_scores, config.num_resamples, config.seed)
    comparison |= {
        "findings": finding_changes(first, second, config.uncertain == "positive"),
        "a": str(config.predictions_a),
        "b": str(config.predictions_b),
        "references": str(config.references),
        "normalization": config.normalization,
        "convention": first_scores.convention,
        "notes": notes,
    }
    _print(console, comparison)
    if config.output:
        text = json.dumps(comparison, indent=2, ensure_ascii=False, allow_nan=False)
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_text(text + "\n", encoding="utf-8")
    return comparison


def shared_predictions(config: CompareConfig) -> tuple[list[Prediction], list[Prediction], list[str]]:
    """Both systems' predictions for the studies that both have, in one order; notes say what is left out.

    Raises:
        ValueError: the systems share no study that has a reference.
    """
    read = (
        read_files(path, config.references, config.columns, config.reference_split)
        for path in (config.predictions_a, config.predictions_b)
    )
    first, second = (match(*tables) for tables in read)
    in_both = {prediction.study_id for prediction in first.predictions} & {
        prediction.study_id for prediction in second.predictions
    }
    if not in_both:
        raise ValueError(f"{config.predictions_a} and {config.predictions_b} have no study in common")
    notes = [note for note in first.notes if note in second.notes]
    notes += [
        f"{name}: {note}"
        for name, matched in (("A", first), ("B", second))
        for note in matched.notes
        if note not in notes
    ]
    for name, matched in (("A", first), ("B", second)):
        if alone := len(matched.predictions) - len(in_both):
            notes.append(f"{alone} studies are only in {name} and are left out")
    kept = [[one for one in matched.predictions if one.study_id in in_both] for matched in (first, second)]
    # One patient and one truth for both, even where a file of predictions names its own.
    second_kept = [
        replace(one, subject_id=other.subject_id, reference_labels=other.reference_labels)
        for one, other in zip(kept[1], kept[0], strict=True)
    ]
    return kept[0], second_kept, notes


def _print(console: Console, comparison: dict[str, Any]) -> None:
    resolution = comparison["p_value_resolution"]
    table = Table(
        title=f"{comparison['num_studies']} studies of {comparison['num_patients']} patients",
        caption=f"A - B with 95 % interval; p by {comparison['num_swaps']} random swaps, no finer than "
        f"{resolution:.2g}; "
        f"p for all: Holm's, for {len(comparison['metrics'])} metrics together; {comparison['convention']}; "
        f"text normalised: {comparison['normalization']}",
    )
    for head in ("metric", "A", "B", "A - B", "p", "p for all", "studies better: A / B / same"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    for metric, figures in comparison["metrics"].items():
        studies = figures["studies"]
        table.add_row(
            METRICS[metric],
            format_number(figures["a"]["value"]),
            format_number(figures["b"]["value"]),
            str(Estimate(**figures["difference"])),
            p_value_text(figures["p_value"]),
            p_value_text(figures["p_value_all_metrics"]),
            "" if studies is None else " / ".join(map(str, studies.values())),
        )
    console.print(table)
    for note in comparison["notes"]:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)
    findings = comparison["findings"]
    console.print(
        f"Of {findings['true']} true findings A alone names {findings['true_found_by_a_only']}, B alone "
        f"{findings['true_found_by_b_only']}, both {findings['true_found_by_both']}; false ones: A alone "
        f"{findings['false_by_a_only']}, B alone {findings['false_by_b_only']}.",
        highlight=False,
    )
    console.print(comparison["verdict"], style="bold", markup=False, highlight=False)


if __name__ == "__main__":
    run_main(main)
