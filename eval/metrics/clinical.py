"""Findings right and wrong: precision, recall and F1 per finding, micro and macro.

Label arrays in [studies, 14], CheXbert's codes in the order of FINDINGS. A reference of -100 is masked;
a blank counts as negative. Uncertain counts as positive or as negative: both are in use, so every result
carries the name of its convention. A finding without a positive reference is undefined and out of macro.

Agreement of reports and references in all four states of a finding: blank, positive, negative, uncertain.

F1 counts a finding as there or not; this also asks whether it was denied, left open or not mentioned alike. Over
13 findings: No Finding follows from the others. Cohen's kappa is the share beyond what two writers with the same
habits would share by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    micro_precision: float | None
    macro_recall: float | None
    micro_recall: float | None
    macro_f1_5: float | None
    micro_f1_5: float | None
    macro_precision_5: float | None
    micro_precision_5: float | None
    macro_recall_5: float | None
    micro_recall_5: float | None
    convention: str
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
            precision=defined(scores["precision"][index]),
            recall=defined(scores["recall"][index]),
            f1=defined(scores["f1"][index]),
        )
        for index, finding in enumerate(FINDINGS)
    )
    return ClinicalScores(
        counts=counts,
        per_finding=per_finding,
        convention=convention_name(uncertain_is_positive),
        note=macro_note(support > 0, "a positive reference"),
        **{name: defined(scores[name]) for name in AVERAGES},
    )


def confusion_counts(predicted_labels, reference_labels, uncertain_is_positive: bool = True) -> np.ndarray:
    """Per study and finding [studies, 14, 3]: true positive, false positive, false negative; masked ones all 0."""
    predicted_labels = label_array(predicted_labels, "predicted labels")
    reference_labels = label_array(reference_labels, "reference labels")
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
    for scope, chosen in (("", slice(None)), ("_5", _CHEXPERT_5)):
        micro = _ratios(counts[..., chosen, :].sum(axis=-2))
        for name, of_all in zip(("precision", "recall", "f1"), micro, strict=True):
            scores[f"macro_{name}{scope}"] = mean_of_defined(scores[name][..., chosen])
            scores[f"micro_{name}{scope}"] = of_all
    return scores


def is_positive(labels: np.ndarray, uncertain_is_positive: bool) -> np.ndarray:
    """True where a code counts as positive under the convention."""
    return (labels == POSITIVE) | (uncertain_is_positive & (labels == UNCERTAIN))


def convention_name(uncertain_is_positive: bool) -> str:
    """What is printed beside the figures."""
    return UNCERTAIN_IS_POSITIVE if uncertain_is_positive else UNCERTAIN_IS_NEGATIVE


def macro_note(is_defined: Sequence[bool], requirement: str) -> str:
    """Over how many findings the macro average is, and which are left out."""
    left_out = [finding for finding, counts in zip(FINDINGS, is_defined, strict=True) if not counts]
    if not left_out:
        return f"macro over all {NUM_FINDINGS} findings"
    scope = f"macro over {NUM_FINDINGS - len(left_out)} of {NUM_FINDINGS} findings"
    return f"{scope}; without {requirement}, so undefined: {', '.join(left_out)}"


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    is_defined = ~np.isnan(values)
    return divide(np.where(is_defined, values, 0.0).sum(axis=-1), is_defined.sum(axis=-1))


def _ratios(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = np.asarray(counts, dtype=np.float64)
    true_positive, false_positive, false_negative = counts[..., 0], counts[..., 1], counts[..., 2]
    support = true_positive + false_negative
    predicted = true_positive + false_positive
    # Nothing predicted where something was to be found: precision 0, as scikit-learn's zero_division=0.
    precision = np.where(support > 0, divide(true_positive, np.maximum(predicted, 1e-300)), np.nan)
    return (
        precision,
        divide(true_positive, support),
        np.where(support > 0, divide(2 * true_positive, support + predicted), np.nan),
    )


def divide(numerator, denominator) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def label_array(labels, what: str) -> np.ndarray:
    """The labels as an array, or a ValueError that says what they should have been."""
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
    """Per study [studies, 4, 4]: over findings that are labelled, how often [reference state, predicted state]."""
    predicted = label_array(predicted_labels, "predicted labels")[:, _COUNTED]
    reference = label_array(reference_labels, "reference labels")[:, _COUNTED]
    states = np.arange(NUM_STATES)
    return np.einsum(
        "sfr,sfp->srp", reference[..., None] == states, predicted[..., None] == states, dtype=np.int64, casting="unsafe"
    )


def state_agreement(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Share of findings in the same state and Cohen's kappa, of counts [..., 4, 4] summed over studies.

    NaN where nothing is labelled; kappa also where both always use one and the same state.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    share = divide(np.trace(counts, axis1=-2, axis2=-1), total)
    chance = divide((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1), total**2)
    kappa = divide(share - chance, np.where(np.isclose(chance, 1.0), 0.0, 1 - chance))
    return {"state_agreement": share, "state_kappa": kappa}
