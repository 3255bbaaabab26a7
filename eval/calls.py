"""How often a classifier's calls are right, a finding being called from its threshold on.

Counts per study first, [studies, 14, 4]: true positive, false positive, false negative, true negative; a reference of
-100 or a probability that was not given (NaN) counts as nothing. Sensitivity needs studies with the finding,
specificity studies without it; balanced accuracy is the mean of the two, and needs both.
"""

import numpy as np

from eval.clinical import divide, is_positive, label_array, mean_of_defined
from vlm.schema.findings import UNLABELED

DEFAULT_THRESHOLD = 0.5
CALL_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")


def call_counts(probabilities, reference_labels, thresholds=None, uncertain_is_positive: bool = True) -> np.ndarray:
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


def call_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Of counts [..., 14, 4] summed over studies: CALL_SCORES [..., 14], each one's mean over findings as "macro_…",
    and `micro_accuracy`, of all calls pooled [...]. NaN where undefined."""
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
