"""Change since the prior study: do the report and the classifier say of each finding what the reference says?

A report states pairs of a finding and a change: new, worse, unchanged, better or resolved
(`data/reports/labeler/changes.py`). Its pairs are compared with those of the reference. The change head of the
classifier is scored on the findings with a known change that were present in one of the two studies.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from data.reports.labeler.changes import report_changes
from eval.metrics.clinical import divide, mean_of_defined, precision_recall_f1
from vlm.schema.findings import CHANGES

STATES = CHANGES[1:]
"""The changes that a report can state: without "none"."""
TEMPORAL_SCORES = (
    "temporal_f1", "temporal_precision", "temporal_recall", "macro_temporal_f1", "change_accuracy",
    "macro_change_accuracy",
)  # fmt: skip
_changes = lru_cache(maxsize=8192)(report_changes)


def stated_changes(report: str) -> Int[np.ndarray, "findings states"]:
    """1 where the report states this change of this finding, else 0; columns in the order of STATES."""
    return np.array([[code in stated for code in range(1, len(CHANGES))] for stated in _changes(report)], dtype=int)


def temporal_counts(reports: Sequence[str], references: Sequence[str]) -> Float[np.ndarray, "studies states 3"]:
    """Per study and state: pairs in both, only in the report, and only in the reference. 0 without a reference."""
    counts = np.zeros((len(reports), len(STATES), 3))
    for study, (report, reference) in enumerate(zip(reports, references, strict=True)):
        if reference.strip():
            own, true = stated_changes(report), stated_changes(reference)
            counts[study] = np.stack([own & true, own & ~true, ~own & true], axis=-1).sum(axis=0)
    return counts


def temporal_scores(counts: Float[np.ndarray, "*resamples states 3"]) -> dict[str, np.ndarray]:
    """Scores from summed counts; NaN where no reference states a change.

    "temporal_…" pools all pairs; "macro_temporal_f1" is the mean over the states that references state. Per state:
    "state precision", "state recall" and "state f1" [*resamples, states].
    """
    pooled = precision_recall_f1(counts.sum(axis=-2))
    of_states = precision_recall_f1(counts)
    names = ("precision", "recall", "f1")
    return {
        **{f"temporal_{name}": values for name, values in zip(names, pooled, strict=True)},
        **{f"state {name}": values for name, values in zip(names, of_states, strict=True)},
        "macro_temporal_f1": mean_of_defined(of_states[2]),
    }


def change_decision_counts(
    probabilities: Float[np.ndarray, "studies findings changes"], changes: Int[np.ndarray, "studies findings"]
) -> Float[np.ndarray, "studies states 2"]:
    """Per study and true state: number of findings, and of those whose most probable change is right.

    Unknown changes and "none" are left out, and studies whose probabilities are NaN.
    """
    has_probabilities = ~np.isnan(probabilities).any(axis=(1, 2))
    predicted = np.nan_to_num(probabilities).argmax(axis=-1)
    is_state = changes[..., None] == np.arange(1, len(CHANGES))
    is_state &= has_probabilities[:, None, None]
    is_right = is_state & (predicted == changes)[..., None]
    return np.stack([is_state.sum(axis=1), is_right.sum(axis=1)], axis=-1).astype(float)


def change_scores(counts: Float[np.ndarray, "*resamples states 2"]) -> dict[str, np.ndarray]:
    """Shares of right changes from summed counts, of all findings and averaged over states; NaN without a known one."""
    pooled = counts.sum(axis=-2)
    of_states = divide(counts[..., 1], counts[..., 0])
    return {
        "change_accuracy": divide(pooled[..., 1], pooled[..., 0]),
        "state accuracy": of_states,
        "macro_change_accuracy": mean_of_defined(of_states),
    }
