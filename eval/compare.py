"""Compare two systems on the same studies: which is better, by how much, and could the difference be chance?

    python -m eval.compare predictions_a.jsonl predictions_b.jsonl references.jsonl --output comparison.json

It reads the same files as eval.score. For each metric it reports both scores, the paired difference with its 95%
interval over patients, the p-value of paired approximate randomization, and the number of studies on which each system
is better. The rates of reports that contradict themselves, and the like, have no p-value.
"""

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
from eval.checks.consistency import RATES, consistency
from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.metrics.clinical import is_positive
from eval.metrics.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS
from eval.predictions.matching import match
from eval.predictions.prediction import Prediction
from eval.predictions.tables import ColumnOptions, read_files
from eval.report.options import ScoringOptions
from eval.report.tables import comparison_columns, comparison_rows, p_value_text
from eval.scoring.randomization import holm_adjusted, randomization_p_values
from eval.scoring.scores import METRICS, Scores, paired_difference, score_predictions
from eval.scoring.statistics import subjects_of
from vlm.schema.atomic import write_json
from vlm.schema.findings import FINDING_INDEX, UNLABELED
from vlm.schema.number_format import format_number

COMPARED = (
    "macro_f1", "micro_f1", "macro_f1_5", "micro_f1_5", "state_agreement", "laterality_agreement", "severity_agreement",
    "temporal_f1", "macro_temporal_f1",
    "error_score", "macro_auroc", "macro_average_precision", "macro_brier", "pooled_calibration_error",
    "cider", "rouge_l", "meteor", "chrf", "bleu_4", "bleu_1",
)  # fmt: skip
SIGNIFICANT = 0.05
GROUPED = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """Compare two files of predicted reports, A and B."""

    predictions_a: Annotated[Path, tyro.conf.Positional]
    """Predictions of system A."""
    predictions_b: Annotated[Path, tyro.conf.Positional]
    """Predictions of system B."""
    references: Annotated[Path, tyro.conf.Positional]
    """References for both."""
    names: tuple[str, str] = ("A", "B")
    """Names of the two systems."""
    output: Path | None = None
    """JSON file for the results. In docs/results, it becomes a section of docs/RESULTS.md."""
    reference_split: str = ""
    """Use only references of this split; the default for R2Gen's annotation.json is test."""
    normalization: Literal[tuple(NORMALIZATIONS)] = DEFAULT_NORMALIZATION
    """Normalization of all texts before their words are compared."""
    columns: GROUPED[ColumnOptions] = field(default_factory=ColumnOptions)
    scoring: GROUPED[ScoringOptions] = field(default_factory=ScoringOptions)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return what is saved."""
    config = tyro.cli(CompareConfig, args=argv, description=__doc__)
    console = Console()
    first, second, notes = shared_predictions(config)
    scoring = config.scoring
    first_scores, second_scores = (
        score_predictions(
            predictions,
            name=name,
            normalization=config.normalization,
            **scoring.arguments,
        )
        for name, predictions in zip(config.names, (first, second), strict=True)
    )
    comparison = compare(first_scores, second_scores, scoring.num_resamples, scoring.seed)
    comparison |= {
        "names": list(config.names),
        "consistency": consistency_differences(first, second, scoring.num_resamples, scoring.seed),
        "findings": finding_changes(first, second, scoring.uncertain_is_positive),
        "a": str(config.predictions_a),
        "b": str(config.predictions_b),
        "references": str(config.references),
        "normalization": config.normalization,
        "convention": first_scores.convention,
        "notes": notes,
    }
    _print(console, comparison)
    if config.output:
        write_json(config.output, comparison)
    return comparison


def shared_predictions(config: CompareConfig) -> tuple[list[Prediction], list[Prediction], list[str]]:
    """Predictions of both systems for the studies that both have, in the same order; notes say what is left out.

    Raises:
        ValueError: the systems have no study with a reference in common.
    """
    read = (
        read_files(path, config.references, config.columns, config.reference_split)
        for path in (config.predictions_a, config.predictions_b)
    )
    first, second = (match(*tables) for tables in read)
    in_both = {one.study_id for one in first.predictions} & {one.study_id for one in second.predictions}
    if not in_both:
        raise ValueError(f"{config.predictions_a} and {config.predictions_b} have no study in common")
    systems = {"A": first, "B": second}
    notes = [note for note in first.notes if note in second.notes]
    notes += [f"{name}: {note}" for name, one in systems.items() for note in one.notes if note not in notes]
    for name, matched in systems.items():
        if alone := len(matched.predictions) - len(in_both):
            notes.append(f"{alone} studies are only in {name} and are left out")
    kept = [[one for one in matched.predictions if one.study_id in in_both] for matched in systems.values()]
    # Both get the same patient and labels, even if a file of predictions has its own.
    second_kept = [
        replace(one, subject_id=other.subject_id, reference_labels=other.reference_labels)
        for one, other in zip(kept[1], kept[0], strict=True)
    ]
    return kept[0], second_kept, notes


def compare(first: Scores, second: Scores, num_swaps: int, seed: int = 0) -> dict[str, Any]:
    """Compare by every metric that both have.

    Each metric gets both scores, the paired difference (first - second), the p-value for this metric alone and adjusted
    for all metrics, and the number of studies on which each system is better.
    """
    known = [metric for metric in COMPARED if None not in (first.metrics[metric].value, second.metrics[metric].value)]
    p_values = randomization_p_values(first.statistics, second.statistics, first.subject_ids, known, num_swaps, seed)
    adjusted = dict(zip(known, holm_adjusted([p_values[metric] for metric in known]), strict=True))
    metrics = {
        metric: {
            "a": asdict(first.metrics[metric]),
            "b": asdict(second.metrics[metric]),
            "difference": asdict(paired_difference(first, second, metric)),
            "p_value": p_values[metric],
            "p_value_all_metrics": adjusted[metric],
            "studies": _better_studies(first, second, metric),
        }
        for metric in known
    }
    return {
        "num_studies": len(first.study_ids),
        "num_patients": len(set(first.subject_ids)),
        "num_swaps": num_swaps,
        "p_value_resolution": 1 / (num_swaps + 1),
        "seed": seed,
        "metrics": metrics,
        "verdict": _verdict(metrics, (first.name, second.name)),
    }


def consistency_differences(
    first: Sequence[Prediction], second: Sequence[Prediction], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The rates of `eval.checks.consistency` that need no classifier, for both systems, and their paired difference."""
    found = [
        consistency(
            [one.report for one in given],
            [one.reference for one in given],
            has_prior=[one.has_prior for one in given],
        )
        for given in (first, second)
    ]
    known = [name for name in RATES if name != "disagreement_rate"]

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        a, b = (np.stack([one.statistic(weights)[name] for name in known], axis=1) for one in found)
        return {"a": a, "b": b, "difference": a - b}

    values = estimates(statistic, subjects_of(first), num_resamples, seed)
    return {name: {key: asdict(values[key][number]) for key in values} for number, name in enumerate(known)}


def finding_changes(
    first: Sequence[Prediction], second: Sequence[Prediction], uncertain_is_positive: bool = True
) -> dict[str, int]:
    """Count true and false findings that only one of the systems names, over all studies, without No Finding."""
    counted = [index for finding, index in FINDING_INDEX.items() if finding != "No Finding"]
    truth = np.array([prediction.reference_labels for prediction in first])[:, counted]
    in_a, in_b = (
        is_positive(
            np.array([label_report(prediction.report) for prediction in given])[:, counted], uncertain_is_positive
        )
        for given in (first, second)
    )
    is_true = is_positive(truth, uncertain_is_positive)
    is_false = ~is_true & (truth != UNLABELED)
    return {
        "true": int(is_true.sum()),
        "true_found_by_both": int((is_true & in_a & in_b).sum()),
        "true_found_by_a_only": int((is_true & in_a & ~in_b).sum()),
        "true_found_by_b_only": int((is_true & in_b & ~in_a).sum()),
        "false_by_a_only": int((is_false & in_a & ~in_b).sum()),
        "false_by_b_only": int((is_false & in_b & ~in_a).sum()),
    }


def _better_studies(first: Scores, second: Scores, metric: str) -> dict[str, int] | None:
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


def _verdict(metrics: dict[str, Any], names: tuple[str, str]) -> str:
    """One sentence: by macro-F1 of the findings, or else by CIDEr."""
    metric = next((metric for metric in ("macro_f1", "cider") if metric in metrics), None)
    if metric is None:
        return "The systems cannot be compared: no study has a reference."
    scores = metrics[metric]
    difference = scores["difference"]
    if difference["low"] is None or scores["p_value"] > SIGNIFICANT or difference["low"] <= 0 <= difference["high"]:
        claim = "Neither system is shown to be better"
    else:
        better, worse = names if difference["value"] > 0 else names[::-1]
        claim = f"{better} is better than {worse}"
    own, other = (format_number(scores[name]["value"]) for name in ("a", "b"))
    return f"{claim} in {METRICS[metric]}: {own} compared with {other}, p = {p_value_text(scores['p_value'])}."


def _print(console: Console, comparison: dict[str, Any]) -> None:
    table = Table(
        title=f"{comparison['num_studies']} studies of {comparison['num_patients']} patients",
        caption=f"Difference: first - second, 95% interval; p from {comparison['num_swaps']} random swaps, resolution "
        f"{p_value_text(comparison['p_value_resolution'])}; adjusted p: Holm's method for "
        f"{len(comparison['metrics'])} metrics; {comparison['convention']}; text normalization: "
        f"{comparison['normalization']}",
    )
    for title in comparison_columns(comparison):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for row in comparison_rows(comparison):
        table.add_row(*row)
    console.print(table)
    for note in comparison["notes"]:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)
    findings = comparison["findings"]
    a, b = comparison["names"]
    console.print(
        f"True findings ({findings['true']}): only {a} names {findings['true_found_by_a_only']}, only {b} "
        f"{findings['true_found_by_b_only']}, both {findings['true_found_by_both']}. False findings: only {a} names "
        f"{findings['false_by_a_only']}, only {b} {findings['false_by_b_only']}.",
        highlight=False,
    )
    console.print(comparison["verdict"], style="bold", markup=False, highlight=False)


if __name__ == "__main__":
    run_main(main)
