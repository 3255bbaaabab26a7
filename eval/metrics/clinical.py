"""Precision, recall and F1 of findings: per finding, micro and macro; and agreement in four states.

Label arrays are [studies, 14] with CheXbert's codes in the order of FINDINGS. A reference of -100 is masked; a blank
counts as negative. Uncertain counts as positive or as negative, and each result names its convention. A finding
without a positive reference is undefined and left out of the macro average.

State agreement compares blank, positive, negative and uncertain over 13 findings (No Finding follows from the others).
Cohen's kappa corrects it for agreement by chance.
"""

from collections.abc import Sequence

import numpy as np

from vlm.schema.findings import (
    CHEXPERT_5,
    FINDING_INDEX,
    FINDINGS,
    LABEL_CODES,
    NUM_FINDINGS,
    POSITIVE,
    UNCERTAIN,
    UNLABELED,
)

UNCERTAIN_IS_POSITIVE = "uncertain counts as positive"
UNCERTAIN_IS_NEGATIVE = "uncertain counts as negative"
AVERAGES = tuple(
    f"{average}_{score}{scope}"
    for scope in ("", "_5")
    for score in ("f1", "precision", "recall")
    for average in ("macro", "micro")
)
"""Averages over 14 findings, and over the five CheXpert findings (`_5`)."""
_CHEXPERT_5 = [FINDING_INDEX[finding] for finding in CHEXPERT_5]


def f1_scores(predicted_labels, reference_labels, uncertain_is_positive: bool = True) -> dict[str, float | None]:
    """AVERAGES over all studies; None for an average without a defined finding."""
    counts = confusion_counts(predicted_labels, reference_labels, uncertain_is_positive)
    scores = scores_from_counts(counts.sum(axis=0))
    return {name: defined(scores[name]) for name in AVERAGES}


def confusion_counts(predicted_labels, reference_labels, uncertain_is_positive: bool = True) -> np.ndarray:
    """True positives, false positives and false negatives [studies, 14, 3]; 0 where masked."""
    predicted_labels = label_array(predicted_labels, "predicted labels")
    reference_labels = label_array(reference_labels, "reference labels")
    if len(predicted_labels) != len(reference_labels):
        raise ValueError(f"{len(predicted_labels)} predicted but {len(reference_labels)} reference label rows")
    is_labeled = reference_labels != UNLABELED
    predicted = is_positive(predicted_labels, uncertain_is_positive) & is_labeled
    reference = is_positive(reference_labels, uncertain_is_positive)
    return np.stack([predicted & reference, predicted & ~reference, ~predicted & reference], axis=-1).astype(np.int64)


def scores_from_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, f1 [..., 14] and AVERAGES [...] from counts [..., 14, 3] summed over studies."""
    precision, recall, f1 = precision_recall_f1(counts)
    scores = {"precision": precision, "recall": recall, "f1": f1}
    for scope, chosen in (("", slice(None)), ("_5", _CHEXPERT_5)):
        micro = precision_recall_f1(counts[..., chosen, :].sum(axis=-2))
        for name, of_all in zip(("precision", "recall", "f1"), micro, strict=True):
            scores[f"macro_{name}{scope}"] = mean_of_defined(scores[name][..., chosen])
            scores[f"micro_{name}{scope}"] = of_all
    return scores


def is_positive(labels: np.ndarray, uncertain_is_positive: bool) -> np.ndarray:
    """True where a code counts as positive under the convention."""
    return (labels == POSITIVE) | (uncertain_is_positive & (labels == UNCERTAIN))


def convention_name(uncertain_is_positive: bool) -> str:
    """The name of the convention, printed with the scores."""
    return UNCERTAIN_IS_POSITIVE if uncertain_is_positive else UNCERTAIN_IS_NEGATIVE


def macro_note(is_defined: Sequence[bool], requirement: str) -> str:
    """How many findings are in the macro average, and which are left out."""
    left_out = [finding for finding, counts in zip(FINDINGS, is_defined, strict=True) if not counts]
    if not left_out:
        return f"macro over all {NUM_FINDINGS} findings"
    scope = f"macro over {NUM_FINDINGS - len(left_out)} of {NUM_FINDINGS} findings"
    return f"{scope}; without {requirement}, so undefined: {', '.join(left_out)}"


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, ignoring NaN; NaN if all are NaN."""
    is_defined = ~np.isnan(values)
    return divide(np.where(is_defined, values, 0.0).sum(axis=-1), is_defined.sum(axis=-1))


def precision_recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [...] from counts [..., 3] of true positives, false positives and false negatives; NaN if undefined."""
    counts = np.asarray(counts, dtype=np.float64)
    true_positive, false_positive, false_negative = counts[..., 0], counts[..., 1], counts[..., 2]
    support = true_positive + false_negative
    predicted = true_positive + false_positive
    # Precision is 0 if nothing was predicted, as in scikit-learn with zero_division=0.
    precision = np.where(support > 0, divide(true_positive, np.maximum(predicted, 1e-300)), np.nan)
    return (
        precision,
        divide(true_positive, support),
        np.where(support > 0, divide(2 * true_positive, support + predicted), np.nan),
    )


def divide(numerator, denominator) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def label_array(labels, what: str) -> np.ndarray:
    """The labels as an array [studies, 14]; another shape is a ValueError."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.shape[1] != NUM_FINDINGS:
        raise ValueError(
            f"{what} must be [studies, {NUM_FINDINGS}] codes in CheXpert's order, got shape {labels.shape}"
        )
    return labels


def defined(value) -> float | None:
    """The value, None for NaN."""
    return None if np.isnan(value) else float(value)


NUM_STATES = len(LABEL_CODES - {UNLABELED})
_COUNTED = [index for finding, index in FINDING_INDEX.items() if finding != "No Finding"]


def state_counts(predicted_labels, reference_labels) -> np.ndarray:
    """Counts of [reference state, predicted state] over labeled findings [studies, 4, 4]."""
    predicted = label_array(predicted_labels, "predicted labels")[:, _COUNTED]
    reference = label_array(reference_labels, "reference labels")[:, _COUNTED]
    states = np.arange(NUM_STATES)
    return np.einsum(
        "sfr,sfp->srp", reference[..., None] == states, predicted[..., None] == states, dtype=np.int64, casting="unsafe"
    )


def state_agreement(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Agreement and Cohen's kappa from counts [..., 4, 4] summed over studies.

    NaN without labels; kappa is also NaN if both always use the same single state.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    share = divide(np.trace(counts, axis1=-2, axis2=-1), total)
    chance = divide((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1), total**2)
    kappa = divide(share - chance, np.where(np.isclose(chance, 1.0), 0.0, 1 - chance))
    return {"state_agreement": share, "state_kappa": kappa}
