"""Two systems on the same studies: is one better, by how much, and could it be chance?

    python -m eval.compare predictions_a.jsonl predictions_b.jsonl references.jsonl --output comparison.json

Reads files as eval.score does. For each metric: both figures, the paired difference with its 95 % interval over
patients, the p-value of paired approximate randomisation, and on how many studies which system does better.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from data.cli import run_main
from data.reports.labeler.labeler import label_report
from eval.bootstrap import NUM_RESAMPLES, Estimate
from eval.matching import match
from eval.normalization import DEFAULT_NORMALIZATION, NORMALIZATIONS
from eval.paired_comparison import compare, finding_changes, p_value_text
from eval.predictions import Prediction
from eval.score_files import Columns, read_files
from eval.scoring import METRICS, score_predictions
from eval.verdict import number, with_interval


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
    label = cache(label_report)
    first_scores, second_scores = (
        score_predictions(
            predictions,
            label,
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
        "findings": finding_changes(first, second, label, config.uncertain == "positive"),
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
            number(figures["a"]["value"]),
            number(figures["b"]["value"]),
            with_interval(Estimate(**figures["difference"])),
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
