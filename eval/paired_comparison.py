"""Two systems scored on the same studies, metric by metric: how large the difference is, whether it could be chance,
and what it means study by study and finding by finding."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.clinical import is_positive
from eval.predictions import Prediction
from eval.randomization import holm_adjusted, randomization_p_values
from eval.scoring import METRICS, Scores, paired_difference
from eval.study_statistics import LabelReport
from eval.verdict import number
from vlm.schema.findings import FINDING_INDEX, UNLABELED

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
    label_report: LabelReport,
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
        f"{claim} in {METRICS[metric]}: {number(figures['a']['value'])} against {number(figures['b']['value'])}, "
        f"p = {p_value_text(figures['p_value'])}."
    )


def p_value_text(value: float) -> str:
    """Two digits, as many as a p-value deserves."""
    return f"{value:.2g}"
