"""Which epoch is the best: differences within noise are ties, and the loss breaks ties.

An epoch is compared with the best one before it, metric by metric: macro-F1 of the reports, CIDEr, AUROC of the
findings. The first metric whose difference is not a tie decides. A difference is a tie if the 95% interval of the
paired difference (bootstrap over the patients of the validation split, NUM_RESAMPLES resamples) includes 0, or if there
is no interval. If all metrics are ties, the lower validation loss decides; with equal losses the earlier epoch stays.
An epoch that writes reports is better than one that writes none. The weights before training (epoch 0) are validated
for comparison and never chosen.
"""

from collections.abc import Sequence

import numpy as np

from eval.metrics.bootstrap import interval, point_values, resample
from eval.metrics.clinical import f1_scores, mean_of_defined, scores_from_counts
from eval.metrics.probabilities import probability_scores
from train.run.state import ValidationResult

METRICS = ("report_macro_f1", "report_cider", "finding_macro_auroc")
NUM_RESAMPLES = 400


def is_better(new: ValidationResult, best: ValidationResult | None, subject_ids: Sequence[str] = ()) -> bool:
    """Whether `new` replaces `best`, by the rule of this file. `subject_ids`: the patient of each validation study."""
    if best is None:
        return True
    for metric in METRICS:
        one, other = new.metrics.get(metric), best.metrics.get(metric)
        if (one is None) != (other is None):
            return other is None
        if one is not None and not _is_tie(metric, new, best, subject_ids):
            return one > other
    return new.loss < best.loss


def same_report_macro_f1(labels: np.ndarray) -> float | None:
    """The highest macro-F1 that one report for everybody gets, if it states the findings of one of these studies."""
    candidates = np.unique(labels, axis=0)
    scores = [f1_scores(np.broadcast_to(row, labels.shape), labels)["macro_f1"] for row in candidates]
    return max((score for score in scores if score is not None), default=None)


def _is_tie(metric: str, new: ValidationResult, best: ValidationResult, subject_ids: Sequence[str]) -> bool:
    if metric != "finding_macro_auroc":
        subject_ids = np.take(subject_ids, new.studies["number"])

    def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {metric: _values(metric, new.studies, weights) - _values(metric, best.studies, weights)}

    value = point_values(difference, len(subject_ids))[metric]
    estimate = interval(float(value), resample(difference, subject_ids, NUM_RESAMPLES)[metric])
    return estimate.low is None or estimate.low <= 0 <= estimate.high


def _values(metric: str, studies: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The metric in each resample, from weights [resamples, studies]."""
    if metric == "report_macro_f1":
        return scores_from_counts(np.einsum("rs,sfc->rfc", weights, studies["counts"]))["macro_f1"]
    if metric == "report_cider":
        return weights @ studies["cider"] / weights.sum(axis=1)
    return mean_of_defined(probability_scores(studies["probabilities"], studies["labels"], weights)["auroc"])


def image_is_unused(records: Sequence[dict]) -> str:
    """A warning if no validation of a run, from its log, has a higher macro-F1 than one report for everybody; "" if one
    has, or if no reports were scored."""
    scored = [record for record in records if record.get("validation", {}).get("report_macro_f1") is not None]
    limits = [limit for record in scored if (limit := record.get("same_report_macro_f1")) is not None]
    best = max((record["validation"]["report_macro_f1"] for record in scored), default=0.0)
    if not limits or best > max(limits):
        return ""
    return (
        f"Macro-F1 of the validation reports never rose above {max(limits):.3f}, which one report for every patient "
        f"gets (highest: {best:.3f}). The reports hardly depend on the image. Train longer or on more studies; the "
        "README says which options suit how many studies."
    )
