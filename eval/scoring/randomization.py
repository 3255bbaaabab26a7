"""Paired approximate randomization (Noreen 1989): could the difference between two systems be chance?

If both systems were equally good, their outputs for a patient could be swapped. Swapping the outputs of a random half
of the patients many times shows which differences chance produces. This works for each figure (means over studies,
BLEU, F1), because a swap only changes whether the studies of each system count once or not at all.
"""

from collections.abc import Sequence

import numpy as np

from eval.scoring.statistics import StudyStatistics

_MAX_WEIGHTS_AT_ONCE = 2_000_000


def randomization_p_values(
    first: StudyStatistics,
    second: StudyStatistics,
    subject_ids: Sequence[str],
    metrics: Sequence[str],
    num_swaps: int,
    seed: int = 0,
) -> dict[str, float | None]:
    """Two-sided p-value by metric: the share of swaps with a difference at least as large as the observed one.

    None if the metric is undefined. The minimum is 1 / (num_swaps + 1). `first` and `second` must have the same studies
    in the same order.
    """
    both = first.followed_by(second)
    observed = _differences(both, np.zeros((1, first.num_studies)))
    as_large = dict.fromkeys(observed, 1)
    for swapped in _swaps(subject_ids, num_swaps, seed):
        for metric, differences in _differences(both, swapped).items():
            # Tolerance, because the order of summation changes the last digits.
            as_large[metric] += int((np.abs(differences) >= abs(observed[metric][0]) - 1e-12).sum())
    return {
        metric: as_large[metric] / (num_swaps + 1) if metric in observed and not np.isnan(observed[metric][0]) else None
        for metric in metrics
    }


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for several tests (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _swaps(subject_ids: Sequence[str], num_swaps: int, seed: int):
    """Blocks [swaps, studies] of 0 and 1 (1: outputs are swapped); studies of a patient are swapped together."""
    subjects, subject_of_study = np.unique(np.asarray(subject_ids, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    block = max(1, _MAX_WEIGHTS_AT_ONCE // (2 * len(subject_of_study)))
    for start in range(0, num_swaps, block):
        size = min(block, num_swaps - start)
        yield generator.integers(2, size=(size, len(subjects)))[:, subject_of_study].astype(np.float64)


def _differences(both: StudyStatistics, swapped: np.ndarray) -> dict[str, np.ndarray]:
    one = both.figures(np.hstack([1 - swapped, swapped]))
    other = both.figures(np.hstack([swapped, 1 - swapped]))
    return {metric: one[metric] - other[metric] for metric in one if one[metric].ndim == 1}
