"""How good a classifier's probabilities are, per finding and on average: AUROC, average precision, Brier score and
calibration error, with studies counted by weights so that resamples are scored at once.

Probabilities and CheXbert's codes in [studies, 14]; a reference of -100 is masked, a finding whose probabilities are
NaN for every study was not given and is undefined. Ranking (AUROC, average precision) is undefined unless the
references are of both kinds. Calibration error is the expected one of Guo et al. 2017 over 15 bins of equal width, of
each finding alone and of all labelled probabilities pooled; with few studies it is too high by chance alone.

How often a classifier's calls are right, a finding being called from its threshold on.

Counts per study first, [studies, 14, 4]: true positive, false positive, false negative, true negative; a reference of
-100 or a probability that was not given (NaN) counts as nothing. Sensitivity needs studies with the finding,
specificity studies without it; balanced accuracy is the mean of the two, and needs both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.clinical import defined, divide, is_positive, label_array, macro_note, mean_of_defined
from vlm.schema.findings import FINDINGS, NUM_FINDINGS, UNLABELED

DEFAULT_THRESHOLD = 0.5
DECISION_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")


def decision_counts(probabilities, reference_labels, thresholds=None, uncertain_is_positive: bool = True) -> np.ndarray:
    """`thresholds` [14] or [studies, 14]; 0.5 where not given.

    Raises:
        ValueError: the arrays do not fit each other.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    reference_labels = label_array(reference_labels, "reference labels")
    thresholds = np.asarray(DEFAULT_THRESHOLD if thresholds is None else thresholds, dtype=np.float64)
    if probabilities.shape != reference_labels.shape:
        raise ValueError(f"probabilities are {probabilities.shape} but reference labels {reference_labels.shape}")
    if thresholds.shape not in ((), probabilities.shape[1:], probabilities.shape):
        raise ValueError(f"thresholds are {thresholds.shape} but must be one a finding, or {probabilities.shape}")
    counts = (reference_labels != UNLABELED) & ~np.isnan(probabilities)
    called, present = probabilities >= thresholds, is_positive(reference_labels, uncertain_is_positive)
    kinds = [called & present, called & ~present, ~called & present, ~called & ~present]
    return np.stack([kind & counts for kind in kinds], axis=-1).astype(np.int64)


def decision_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """DECISION_SCORES [..., 14] of counts [..., 14, 4] summed over studies, NaN where undefined.

    Also each mean over findings as "macro_…", and `micro_accuracy` of all decisions pooled [...].
    """
    counts = np.asarray(counts, dtype=np.float64)
    true_positive, false_positive, false_negative, true_negative = np.moveaxis(counts, -1, 0)
    sensitivity = divide(true_positive, true_positive + false_negative)
    specificity = divide(true_negative, true_negative + false_positive)
    right, calls = true_positive + true_negative, counts.sum(axis=-1)
    scores = {
        "accuracy": divide(right, calls),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }
    averages = {f"macro_{name}": mean_of_defined(values) for name, values in scores.items()}
    return scores | averages | {"micro_accuracy": divide(right.sum(axis=-1), calls.sum(axis=-1))}


NUM_BINS = 15
MAX_CURVE_POINTS = 100
RANKING_SCORES = ("auroc", "average_precision")
PROBABILITY_SCORES = (*RANKING_SCORES, "brier", "calibration_error")


@dataclass(frozen=True, kw_only=True, slots=True)
class AurocScores:
    """Area under the ROC curve; None for a finding whose references are not of both kinds."""

    per_finding: tuple[float | None, ...]
    macro: float | None
    note: str


def auroc(
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    reference_labels: Sequence[Sequence[int]] | np.ndarray,
    uncertain_is_positive: bool = True,
) -> AurocScores:
    """AUROC of each finding's probability, and their mean over the findings where it is defined."""
    weights = np.ones((1, len(probabilities)))
    values = probability_scores(probabilities, reference_labels, weights, uncertain_is_positive)["auroc"][0]
    return AurocScores(
        per_finding=tuple(defined(value) for value in values),
        macro=defined(mean_of_defined(values)),
        note=macro_note(~np.isnan(values), "both kinds of reference"),
    )


def probability_scores(
    probabilities, reference_labels, weights: np.ndarray, uncertain_is_positive: bool = True
) -> dict[str, np.ndarray]:
    """PROBABILITY_SCORES [resamples, 14] with study i counted `weights[resample, i]` times; NaN where undefined.

    Raises:
        ValueError: a probability is missing for some studies only, or the arrays do not fit each other.
    """
    columns = [
        _finding_scores(known_probabilities, positive, weights[:, known])
        for known, known_probabilities, positive in _known(probabilities, reference_labels, uncertain_is_positive)
    ]
    return {score: np.stack([column[score] for column in columns], axis=1) for score in PROBABILITY_SCORES}


def pooled_calibration_error(
    probabilities, reference_labels, weights: np.ndarray, uncertain_is_positive: bool = True
) -> np.ndarray:
    """Calibration error [resamples] of all labelled probabilities in the same bins, whatever their finding; NaN where
    there is none. Findings that are told too often make up for those told too seldom, so read it beside the macro."""
    gaps, total = np.zeros((len(weights), NUM_BINS)), np.zeros(len(weights))
    for known, known_probabilities, positive in _known(probabilities, reference_labels, uncertain_is_positive):
        gaps += weights[:, known] @ _gaps(known_probabilities, positive)
        total += weights[:, known].sum(axis=1)
    return divide(np.abs(gaps).sum(axis=1), total)


def curves(probabilities, reference_labels, uncertain_is_positive: bool = True) -> dict[str, dict[str, list]]:
    """By finding, what is drawn: `roc`, at most 100 points [false positive rate, true positive rate]; `reliability`,
    bins with mean probability, share observed and number of studies. Findings without both kinds are left out."""
    drawn = {}
    known_findings = _known(probabilities, reference_labels, uncertain_is_positive)
    for finding, (_, known, positive) in zip(FINDINGS, known_findings, strict=True):
        if positive.any() and not positive.all():
            drawn[finding] = {"roc": _roc(known, positive), "reliability": _reliability(known, positive)}
    return drawn


def _known(
    probabilities, reference_labels, uncertain_is_positive: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each finding: which studies count, their probabilities, and which of them are positive."""
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


def _finding_scores(probabilities: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    if not len(probabilities):
        return dict.fromkeys(PROBABILITY_SCORES, np.full(len(weights), np.nan))
    total = weights.sum(axis=1)
    scores = {
        "brier": divide(weights @ (probabilities - positive) ** 2, total),
        "calibration_error": divide(np.abs(weights @ _gaps(probabilities, positive)).sum(axis=1), total),
    }
    return scores | ranking_scores(probabilities, positive, weights)


def ranking_scores(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """AUROC and average precision [resamples] of any scores, higher for studies that are positive; NaN where there is
    but one kind."""
    if not positive.any() or positive.all():
        return dict.fromkeys(RANKING_SCORES, np.full(len(weights), np.nan))
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # of each group of equal scores
    weights, positive = weights[:, order], positive[order]
    positives = np.add.reduceat(np.where(positive, weights, 0.0), starts, axis=1)
    negatives = np.add.reduceat(np.where(positive, 0.0, weights), starts, axis=1)
    num_positive, num_negative = positives.sum(axis=1), negatives.sum(axis=1)
    # P(score of a positive > that of a negative) + half of P(equal).
    negatives_below = np.cumsum(negatives, axis=1) - negatives / 2
    auroc = divide((positives * negatives_below).sum(axis=1), num_positive * num_negative)
    # Precision at each threshold, from the highest down, weighed by the positives that it gains.
    positives, negatives = positives[:, ::-1], negatives[:, ::-1]
    found = np.cumsum(positives, axis=1)
    precision = found / np.maximum(found + np.cumsum(negatives, axis=1), 1e-300)
    both_kinds = np.where(num_negative > 0, num_positive, 0.0)
    return {"auroc": auroc, "average_precision": divide((positives * precision).sum(axis=1), both_kinds)}


def _bins(probabilities: np.ndarray) -> np.ndarray:
    return np.clip((probabilities * NUM_BINS).astype(int), 0, NUM_BINS - 1)


def _gaps(probabilities: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """[studies, bins]: by how much a study's probability lies above the truth, in the column of its bin."""
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
