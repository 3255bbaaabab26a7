"""95 % intervals by resampling patients with replacement (Efron's percentile bootstrap).

A statistic is a function from weights [resamples, studies] (how often each study is counted) to named values
[resamples, …]. Equal seeds and patients give equal resamples, so the difference between the samples of two systems is
the paired difference.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm.schema.number_format import format_interval

NUM_RESAMPLES = 1000
_MAX_WEIGHTS_AT_ONCE, _MIN_RESAMPLES_AT_ONCE = 500_000, 32
"""One block of weights has 4 MB, which is faster than larger blocks. With many studies it has 32 resamples: else most
of the time would go into reading the statistics of all studies for each block."""

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From weights [resamples, studies] to values [resamples, …] by name; NaN where undefined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure and its 95 % interval. All are None if undefined; only the interval is None for a single patient.

    `num_undefined` resamples were left out because the figure is undefined in them (a rare finding was not sampled).
    If there are many, the interval is too narrow.
    """

    value: float | None
    low: float | None
    high: float | None
    num_undefined: int = 0

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high)


def resample(
    statistic: Statistic, subject_ids: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Values of the statistic in each resample [resamples, …]; NaN if there is only one subject."""
    if len(set(subject_ids)) < 2:
        values = point_values(statistic, len(subject_ids))
        return {name: np.full((num_resamples, *value.shape), np.nan) for name, value in values.items()}
    blocks = [statistic(weights) for weights in resample_weights(subject_ids, num_resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def point_values(statistic: Statistic, num_studies: int) -> dict[str, np.ndarray]:
    """Values of the statistic with each study counted once."""
    return {name: values[0] for name, values in statistic(np.ones((1, num_studies))).items()}


def estimates(
    statistic: Statistic, subject_ids: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Each value of the statistic with its interval: an Estimate, or a list of them for one value per finding."""
    samples = resample(statistic, subject_ids, num_resamples, seed)
    return {
        name: interval(value, samples[name]) if value.ndim == 0 else list(map(interval, value, samples[name].T))
        for name, value in point_values(statistic, len(subject_ids)).items()
    }


def resample_weights(
    subject_ids: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Blocks of weights [resamples, studies]: subjects are sampled with replacement, with all of their studies."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; give at least 1 (1000 is usual)")
    subjects, subject_of_study = np.unique(np.asarray(subject_ids, dtype=str), return_inverse=True)
    random = np.random.default_rng(seed)
    block = max(_MIN_RESAMPLES_AT_ONCE, _MAX_WEIGHTS_AT_ONCE // max(1, len(subject_of_study)))
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        draws = random.integers(len(subjects), size=(size, len(subjects)))
        rows = np.arange(size)[:, None] * len(subjects)
        times_drawn = np.bincount((draws + rows).ravel(), minlength=size * len(subjects)).reshape(size, len(subjects))
        yield times_drawn[:, subject_of_study].astype(np.float64)


def centered(samples: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Shift samples [resamples, …] so that their mean is the value, for figures that resampling makes larger."""
    is_defined = ~np.isnan(samples)
    mean = np.where(is_defined, samples, 0.0).sum(axis=0) / np.maximum(is_defined.sum(axis=0), 1)
    return np.maximum(samples - mean + value, 0.0)


def interval(value: float, samples: np.ndarray) -> Estimate:
    """The value with the 2.5th and 97.5th percentile of its defined samples."""
    is_defined = ~np.isnan(samples)
    num_undefined = int((~is_defined).sum())
    if np.isnan(value):
        return Estimate(value=None, low=None, high=None, num_undefined=num_undefined)
    if not is_defined.any():
        return Estimate(value=float(value), low=None, high=None, num_undefined=num_undefined)
    low, high = np.percentile(samples[is_defined], [2.5, 97.5])
    return Estimate(value=float(value), low=float(low), high=float(high), num_undefined=num_undefined)
