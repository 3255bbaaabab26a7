"""Change since the prior study: do the report and the classifier say of each finding what the reference says?

A report states pairs of a finding and a change: new, worse, unchanged, better or resolved
(`data/reports/labeler/changes.py`). Its pairs are compared with those of the reference. The change head of the
classifier is scored on the findings with a known change that were present in one of the two studies. `prior_document`
tells what other prior studies do to the reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.reports.labeler.changes import report_changes
from data.reports.sentences import speaks_of_prior
from eval.metrics.bootstrap import estimates
from eval.metrics.clinical import divide, mean_of_defined, precision_recall_f1
from eval.metrics.laterality import MAX_REPORTS_KEPT, report_sentences
from vlm.schema.findings import CHANGES, WITHOUT_CHANGE

STATES = CHANGES[1:]
"""The changes that a report can state: without "none"."""
TEMPORAL_SCORES = (
    "temporal_f1", "temporal_precision", "temporal_recall", "macro_temporal_f1", "change_accuracy",
    "macro_change_accuracy",
)  # fmt: skip
_changes = lru_cache(maxsize=MAX_REPORTS_KEPT)(report_changes)


def stated_changes(report: str) -> Int[np.ndarray, "findings states"]:
    """1 where the report states this change of this finding, else 0; columns in the order of STATES."""
    return np.array([[code in stated for code in range(1, len(CHANGES))] for stated in _changes(report)], dtype=int)


def temporal_counts(reports: Sequence[str], references: Sequence[str]) -> Float[np.ndarray, "studies states 3"]:
    """Per study and state: pairs in both, only in the report, and only in the reference. 0 without a reference."""
    counts = np.zeros((len(reports), len(STATES), 3))
    for study, (report, reference) in enumerate(zip(reports, references, strict=True)):
        if reference.strip() and any(_changes(report) + _changes(reference)):
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


PRIOR_RATES = {
    "unchanged_share": "of the stated changes, those that are “unchanged”",
    "still_share": "of the findings, those whose most probable change is “unchanged” or “none”",
    "mention_rate": "reports that mention a prior study or state a change",
}
"""What a prior study does to reports and classifier. With the study as its own prior, the first two should be 100%;
without a prior, the last should be 0."""
_STILL = tuple(CHANGES.index(name) for name in ("none", "unchanged"))


def prior_counts(
    reports: Sequence[str], probabilities: Sequence[Sequence[Sequence[float]] | None]
) -> dict[str, Float[np.ndarray, "studies 2"]]:
    """Per study, numerator and denominator of each of PRIOR_RATES. `probabilities` [14, 6] or None by study."""
    stated = np.stack([stated_changes(report).sum(axis=0) for report in reports])
    mentions = [
        bool(changes.any() or any(map(speaks_of_prior, report_sentences(report))))
        for report, changes in zip(reports, stated, strict=True)
    ]
    still = np.zeros((len(reports), 2))
    for study, rows in enumerate(probabilities):
        if rows is not None:
            predicted = np.delete(np.argmax(rows, axis=-1), WITHOUT_CHANGE)
            still[study] = np.isin(predicted, _STILL).sum(), len(predicted)
    return {
        "unchanged_share": np.stack([stated[:, STATES.index("unchanged")], stated.sum(axis=1)], axis=1).astype(float),
        "still_share": still,
        "mention_rate": np.array(
            [(mention, bool(report.strip())) for mention, report in zip(mentions, reports, strict=True)], float
        ),
    }


def prior_document(
    systems: Mapping[str, dict[str, np.ndarray]], subject_ids: Sequence[str], num_resamples: int, seed: int
) -> dict[str, Any]:
    """PRIOR_RATES of each system, from its `prior_counts` on the studies with a prior, with intervals over patients."""

    def rates(counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
            return {name: divide(weights @ pairs[:, 0], weights @ pairs[:, 1]) for name, pairs in counts.items()}

        return {name: asdict(rate) for name, rate in estimates(statistic, subject_ids, num_resamples, seed).items()}

    return {
        "num_studies": len(subject_ids),
        "descriptions": PRIOR_RATES,
        "systems": {name: rates(counts) for name, counts in systems.items()},
    }
