"""Findings right and wrong: precision, recall and F1 per finding, micro and macro; AUROC of probabilities.

Label arrays in [studies, 14], CheXbert's codes in the order of FINDINGS. A reference of -100 is masked;
a blank counts as negative. Uncertain counts as positive or as negative: both are in use, so every result
carries the name of its convention. A finding without a positive reference is undefined and out of macro.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm.findings import CHEXPERT_5, FINDING_INDEX, FINDINGS, NUM_FINDINGS, POSITIVE, UNCERTAIN, UNLABELED

UNCERTAIN_IS_POSITIVE = "uncertain counts as positive"
UNCERTAIN_IS_NEGATIVE = "uncertain counts as negative"
AVERAGES = (
    "macro_f1",
    "micro_f1",
    "macro_precision",
    "macro_recall",
    "micro_precision",
    "micro_recall",
    "macro_f1_5",
    "micro_f1_5",
)
_CHEXPERT_5 = [FINDING_INDEX[finding] for finding in CHEXPERT_5]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingScore:
    """`support` counts positive references; all is None where it is 0. Precision is 0 where nothing was predicted."""

    finding: str
    support: int
    num_predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClinicalScores:
    """`counts` [studies, 14, 3]: true positive, false positive, false negative. Averages over CheXpert's
    five end in `_5`; an average over no defined finding is None."""

    counts: np.ndarray
    per_finding: tuple[FindingScore, ...]
    macro_f1: float | None
    micro_f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    micro_precision: float | None
    micro_recall: float | None
    macro_f1_5: float | None
    micro_f1_5: float | None
    convention: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AurocScores:
    """Area under the ROC curve; None for a finding whose references are not of both kinds."""

    per_finding: tuple[float | None, ...]
    macro: float | None
    note: str


def f1_scores(
    predicted_labels: Sequence[Sequence[int]] | np.ndarray,
    reference_labels: Sequence[Sequence[int]] | np.ndarray,
    uncertain_is_positive: bool = True,
) -> ClinicalScores:
    """Precision, recall and F1 of predicted findings."""
    counts = confusion_counts(predicted_labels, reference_labels, uncertain_is_positive)
    totals = counts.sum(axis=0)
    scores = scores_from_counts(totals)
    support = totals[:, 0] + totals[:, 2]
    per_finding = tuple(
        FindingScore(
            finding=finding,
            support=int(support[index]),
            num_predicted=int(totals[index, 0] + totals[index, 1]),
            precision=_defined(scores["precision"][index]),
            recall=_defined(scores["recall"][index]),
            f1=_defined(scores["f1"][index]),
        )
        for index, finding in enumerate(FINDINGS)
    )
    return ClinicalScores(
        counts=counts,
        per_finding=per_finding,
        convention=convention_name(uncertain_is_positive),
        note=macro_note(support > 0, "a positive reference"),
        **{name: _defined(scores[name]) for name in AVERAGES},
    )


def auroc(
    probabilities: Sequence[Sequence[float]] | np.ndarray,
    reference_labels: Sequence[Sequence[int]] | np.ndarray,
    uncertain_is_positive: bool = True,
) -> AurocScores:
    """AUROC of each finding's probability, and their mean over the findings where it is defined."""
    values = resampled_auroc(probabilities, reference_labels, np.ones((1, len(probabilities))), uncertain_is_positive)
    return AurocScores(
        per_finding=tuple(_defined(value) for value in values[0]),
        macro=_defined(mean_of_defined(values[0])),
        note=macro_note(~np.isnan(values[0]), "both kinds of reference"),
    )


def confusion_counts(predicted_labels, reference_labels, uncertain_is_positive: bool = True) -> np.ndarray:
    """Per study and finding [studies, 14, 3]: true positive, false positive, false negative; masked ones all 0."""
    predicted_labels = _label_array(predicted_labels, "predicted labels")
    reference_labels = _label_array(reference_labels, "reference labels")
    if len(predicted_labels) != len(reference_labels):
        raise ValueError(f"{len(predicted_labels)} predicted but {len(reference_labels)} reference label rows")
    is_labeled = reference_labels != UNLABELED
    predicted = is_positive(predicted_labels, uncertain_is_positive) & is_labeled
    reference = is_positive(reference_labels, uncertain_is_positive)
    return np.stack([predicted & reference, predicted & ~reference, ~predicted & reference], axis=-1).astype(np.int64)


def scores_from_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of counts [..., 14, 3] summed over studies: precision, recall, f1 [..., 14] and AVERAGES [...].

    NaN where undefined.
    """
    precision, recall, f1 = _ratios(counts)
    scores = {"precision": precision, "recall": recall, "f1": f1}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores[f"macro_{name}"] = mean_of_defined(values)
    scores["macro_f1_5"] = mean_of_defined(f1[..., _CHEXPERT_5])
    scores["micro_precision"], scores["micro_recall"], scores["micro_f1"] = _ratios(counts.sum(axis=-2))
    scores["micro_f1_5"] = _ratios(counts[..., _CHEXPERT_5, :].sum(axis=-2))[2]
    return scores


def resampled_auroc(
    probabilities, reference_labels, weights: np.ndarray, uncertain_is_positive: bool = True
) -> np.ndarray:
    """AUROC [resamples, 14] with study i counted `weights[resample, i]` times; NaN where undefined.

    Raises:
        ValueError: a probability is not a number, or the arrays do not fit each other.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    reference_labels = _label_array(reference_labels, "reference labels")
    if probabilities.shape != reference_labels.shape:
        raise ValueError(f"probabilities are {probabilities.shape} but reference labels {reference_labels.shape}")
    if np.isnan(probabilities).any():
        study, finding = np.argwhere(np.isnan(probabilities))[0]
        raise ValueError(f"probability of {FINDINGS[finding]} for study number {study} is not a number (NaN)")
    is_reference_positive = is_positive(reference_labels, uncertain_is_positive)
    columns = []
    for finding in range(NUM_FINDINGS):
        labeled = reference_labels[:, finding] != UNLABELED
        columns.append(
            _weighted_auroc(
                probabilities[labeled, finding], is_reference_positive[labeled, finding], weights[:, labeled]
            )
        )
    return np.stack(columns, axis=1)


def is_positive(labels: np.ndarray, uncertain_is_positive: bool) -> np.ndarray:
    """True where a code counts as positive under the convention."""
    return (labels == POSITIVE) | (uncertain_is_positive & (labels == UNCERTAIN))


def convention_name(uncertain_is_positive: bool) -> str:
    """What is printed beside the figures."""
    return UNCERTAIN_IS_POSITIVE if uncertain_is_positive else UNCERTAIN_IS_NEGATIVE


def macro_note(is_defined: Sequence[bool], requirement: str) -> str:
    """Over how many findings the macro average is, and which are left out."""
    left_out = [finding for finding, defined in zip(FINDINGS, is_defined, strict=True) if not defined]
    if not left_out:
        return f"macro over all {NUM_FINDINGS} findings"
    scope = f"macro over {NUM_FINDINGS - len(left_out)} of {NUM_FINDINGS} findings"
    return f"{scope}; without {requirement}, so undefined: {', '.join(left_out)}"


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    is_defined = ~np.isnan(values)
    return _divide(np.where(is_defined, values, 0.0).sum(axis=-1), is_defined.sum(axis=-1), 0)


def _ratios(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = np.asarray(counts, dtype=np.float64)
    true_positive, false_positive, false_negative = counts[..., 0], counts[..., 1], counts[..., 2]
    support = true_positive + false_negative
    predicted = true_positive + false_positive
    # Nothing predicted where something was to be found: precision 0, as scikit-learn's zero_division=0.
    precision = np.where(support > 0, _divide(true_positive, np.maximum(predicted, 1e-300), 0), np.nan)
    return (
        precision,
        _divide(true_positive, support, 0),
        np.where(support > 0, _divide(2 * true_positive, support + predicted, 0), np.nan),
    )


def _divide(numerator, denominator, undefined_at) -> np.ndarray:
    """Quotient, NaN where the denominator is `undefined_at`."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator != undefined_at)


def _weighted_auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """P(score of a positive > score of a negative) + half of P(equal), for each row of weights."""
    if not positive.any() or positive.all():
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # of each group of equal scores
    weights, positive = weights[:, order], positive[order]
    positives = np.add.reduceat(np.where(positive, weights, 0.0), starts, axis=1)
    negatives = np.add.reduceat(np.where(positive, 0.0, weights), starts, axis=1)
    negatives_below = np.cumsum(negatives, axis=1) - negatives / 2
    return _divide((positives * negatives_below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1), 0)


def _label_array(labels, what: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.shape[1] != NUM_FINDINGS:
        raise ValueError(
            f"{what} must be [studies, {NUM_FINDINGS}] codes in CheXpert's order, got shape {labels.shape}"
        )
    return labels


def _defined(value) -> float | None:
    return None if np.isnan(value) else float(value)
