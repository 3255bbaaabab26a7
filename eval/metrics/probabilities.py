"""Scores of a classifier's probabilities and decisions, per finding and averaged.

Probabilities and labels (CheXbert's codes) are [studies, 14]. A reference of -100 is masked. A finding is undefined if
its probabilities are NaN for all studies. Weights count studies, so all resamples are scored at once.

- Ranking: AUROC and average precision; undefined without both positive and negative references.
- Calibration: Brier score, and expected calibration error (Guo et al. 2017) over 15 bins of equal width, per finding
  and pooled. With few studies, calibration error is too high by chance.
- Decisions at a threshold, from counts [studies, 14, 4] (true positive, false positive, false negative, true negative):
  accuracy, sensitivity, specificity, and balanced accuracy, the mean of the last two.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from eval.metrics.clinical import defined, divide, is_positive, label_array, mean_of_defined
from vlm.schema.findings import FINDINGS, NUM_FINDINGS, UNLABELED

DEFAULT_THRESHOLD = 0.5
DECISION_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")


def decision_counts(probabilities, reference_labels, thresholds=None, uncertain_is_positive: bool = True) -> np.ndarray:
    """Counts of decisions [studies, 14, 4]; `thresholds` are [14] or [studies, 14], 0.5 by default.

    Raises:
        ValueError: the shapes do not match.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    reference_labels = label_array(reference_labels, "reference labels")
    thresholds = np.asarray(DEFAULT_THRESHOLD if thresholds is None else thresholds, dtype=np.float64)
    if probabilities.shape != reference_labels.shape:
        raise ValueError(f"probabilities are {probabilities.shape} but reference labels {reference_labels.shape}")
    if thresholds.shape not in ((), probabilities.shape[1:], probabilities.shape):
        raise ValueError(f"thresholds are {thresholds.shape} but must be one per finding, or {probabilities.shape}")
    counts = (reference_labels != UNLABELED) & ~np.isnan(probabilities)
    predicted, present = probabilities >= thresholds, is_positive(reference_labels, uncertain_is_positive)
    kinds = [predicted & present, predicted & ~present, ~predicted & present, ~predicted & ~present]
    return np.stack([kind & counts for kind in kinds], axis=-1).astype(np.int64)


def decision_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """DECISION_SCORES [..., 14] of counts [..., 14, 4] summed over studies, NaN where undefined.

    Also each mean over findings as "macro_…", and `micro_accuracy` of all decisions pooled [...].
    """
    counts = np.asarray(counts, dtype=np.float64)
    true_positive, false_positive, false_negative, true_negative = np.moveaxis(counts, -1, 0)
    sensitivity = divide(true_positive, true_positive + false_negative)
    specificity = divide(true_negative, true_negative + false_positive)
    correct, decisions = true_positive + true_negative, counts.sum(axis=-1)
    scores = {
        "accuracy": divide(correct, decisions),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }
    averages = {f"macro_{name}": mean_of_defined(values) for name, values in scores.items()}
    return scores | averages | {"micro_accuracy": divide(correct.sum(axis=-1), decisions.sum(axis=-1))}


NUM_BINS = 15
MAX_CURVE_POINTS = 100
RANKING_SCORES = ("auroc", "average_precision")
PROBABILITY_SCORES = (*RANKING_SCORES, "brier", "calibration_error")


def macro_auroc(probabilities, reference_labels) -> float | None:
    """Mean AUROC of the findings with both positive and negative references; None if there are none."""
    scores = probability_scores(probabilities, reference_labels, np.ones((1, len(probabilities))))
    return defined(mean_of_defined(scores["auroc"][0]))


def probability_scores(
    probabilities,
    reference_labels,
    weights: np.ndarray,
    uncertain_is_positive: bool = True,
    scores: Sequence[str] = PROBABILITY_SCORES,
) -> dict[str, np.ndarray]:
    """The chosen PROBABILITY_SCORES [resamples, 14] with study i counted `weights[resample, i]` times; NaN where
    undefined.

    Raises:
        ValueError: a probability is missing for some studies only, or the shapes do not match.
    """
    weights_of = np.ascontiguousarray(np.transpose(weights))  # the weights of a study are one row
    columns = [
        _finding_scores(known_probabilities, positive, weights_of[known], scores)
        for known, known_probabilities, positive in _known(probabilities, reference_labels, uncertain_is_positive)
    ]
    return {score: np.stack([column[score] for column in columns], axis=1) for score in scores}


def pooled_calibration_error(
    probabilities, reference_labels, weights: np.ndarray, uncertain_is_positive: bool = True
) -> np.ndarray:
    """Calibration error [resamples] of the probabilities of all findings in common bins; NaN without labels.

    Overconfident and underconfident findings cancel out, so compare it with the macro average.
    """
    gaps, total = np.zeros((len(weights), NUM_BINS)), np.zeros(len(weights))
    for known, known_probabilities, positive in _known(probabilities, reference_labels, uncertain_is_positive):
        gaps += weights[:, known] @ _gaps(known_probabilities, positive)
        total += weights[:, known].sum(axis=1)
    return divide(np.abs(gaps).sum(axis=1), total)


def curves(probabilities, reference_labels, uncertain_is_positive: bool = True) -> dict[str, dict[str, list]]:
    """Curves by finding, without findings that lack positive or negative references.

    `roc`: at most 100 points [false positive rate, true positive rate]; `reliability`: bins with mean probability,
    observed share and number of studies.
    """
    drawn = {}
    known_findings = _known(probabilities, reference_labels, uncertain_is_positive)
    for finding, (_, known, positive) in zip(FINDINGS, known_findings, strict=True):
        if positive.any() and not positive.all():
            drawn[finding] = {"roc": _roc(known, positive), "reliability": _reliability(known, positive)}
    return drawn


def _known(
    probabilities, reference_labels, uncertain_is_positive: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each finding: the mask of labeled studies, their probabilities, and which are positive."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    reference_labels = label_array(reference_labels, "reference labels")
    if probabilities.shape != reference_labels.shape:
        raise ValueError(f"probabilities are {probabilities.shape} but reference labels {reference_labels.shape}")
    is_missing = np.isnan(probabilities)
    not_given = is_missing.all(axis=0)
    if (is_missing & ~not_given).any():
        study, finding = np.argwhere(is_missing & ~not_given)[0]
        raise ValueError(f"probability of {FINDINGS[finding]} for study number {study} is not a number (NaN)")
    is_reference_positive = is_positive(reference_labels, uncertain_is_positive)
    for finding in range(NUM_FINDINGS):
        known = (reference_labels[:, finding] != UNLABELED) & ~is_missing[:, finding]
        yield known, probabilities[known, finding], is_reference_positive[known, finding]


def _finding_scores(
    probabilities: np.ndarray, positive: np.ndarray, weights_of: np.ndarray, scores: Sequence[str]
) -> dict[str, np.ndarray]:
    """The chosen scores [resamples] under weights [studies, resamples]."""
    if not len(probabilities):
        return dict.fromkeys(scores, np.full(weights_of.shape[1], np.nan))
    total = weights_of.sum(axis=0)
    found = {}
    if "brier" in scores:
        found["brier"] = divide((probabilities - positive) ** 2 @ weights_of, total)
    if "calibration_error" in scores:
        gaps = _gaps(probabilities, positive).T @ weights_of
        found["calibration_error"] = divide(np.abs(gaps).sum(axis=0), total)
    return found | _ranking_scores(probabilities, positive, weights_of, scores)


def ranking_scores(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """AUROC and average precision [resamples] of scores that are higher for positives, under weights [resamples,
    studies]; NaN without both classes."""
    return _ranking_scores(scores, positive, np.transpose(weights))


def _ranking_scores(
    scores: np.ndarray, positive: np.ndarray, weights_of: np.ndarray, chosen: Sequence[str] = RANKING_SCORES
) -> dict[str, np.ndarray]:
    if not positive.any() or positive.all():
        return dict.fromkeys(RANKING_SCORES, np.full(weights_of.shape[1], np.nan))
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[positive[order]], order[~positive[order]]
    # The weight of the first n positives, and of the first n negatives, for each n.
    positives_before, negatives_before = (_sums(weights_of[studies]) for studies in (positives, negatives))
    num_positive, num_negative = positives_before[-1], negatives_before[-1]
    gained = weights_of[positives]
    first, last = (np.searchsorted(scores[negatives], scores[positives], side) for side in ("left", "right"))
    # P(score of a positive > that of a negative) + half of P(equal).
    above = (gained * (negatives_before[first] + negatives_before[last])).sum(axis=0) / 2
    auroc = {"auroc": divide(above, num_positive * num_negative)}
    if "average_precision" not in chosen:
        return auroc
    # Precision at the threshold of each positive.
    found = num_positive - positives_before[np.searchsorted(scores[positives], scores[positives], "left")]
    precision = found / np.maximum(found + num_negative - negatives_before[first], 1e-300)
    both_kinds = np.where(num_negative > 0, num_positive, 0.0)
    return auroc | {"average_precision": divide((gained * precision).sum(axis=0), both_kinds)}


def _sums(rows: np.ndarray) -> np.ndarray:
    """The sum of the first n rows, for each n from 0 on."""
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows, axis=0, out=sums[1:])
    return sums


def _bins(probabilities: np.ndarray) -> np.ndarray:
    return np.clip((probabilities * NUM_BINS).astype(int), 0, NUM_BINS - 1)


def _gaps(probabilities: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Probability minus label, in the column of its bin [studies, bins]."""
    gaps = np.zeros((len(probabilities), NUM_BINS))
    gaps[np.arange(len(probabilities)), _bins(probabilities)] = probabilities - positive
    return gaps


def _roc(probabilities: np.ndarray, positive: np.ndarray) -> list[list[float]]:
    order = np.argsort(-probabilities, kind="stable")
    last_of_equal = np.flatnonzero(np.r_[np.diff(probabilities[order]) < 0, True])
    true_rate = np.cumsum(positive[order])[last_of_equal] / positive.sum()
    false_rate = np.cumsum(~positive[order])[last_of_equal] / (~positive).sum()
    points = np.vstack([[0.0, 0.0], np.column_stack([false_rate, true_rate])])
    if len(points) > MAX_CURVE_POINTS:
        points = points[np.unique(np.linspace(0, len(points) - 1, MAX_CURVE_POINTS).round().astype(int))]
    return points.round(4).tolist()


def _reliability(probabilities: np.ndarray, positive: np.ndarray) -> list[dict[str, float]]:
    bins = _bins(probabilities)
    return [
        {
            "mean_probability": round(float(probabilities[bins == number].mean()), 4),
            "observed": round(float(positive[bins == number].mean()), 4),
            "num_studies": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]
