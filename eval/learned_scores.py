"""What a metric that needs weights, a package or Java gives: statistics of each study, and figures of their sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedScores:
    """`figures_of` turns `statistics` [studies, k], or sums of them [..., k], into figures [...] by name, NaN where
    undefined: a bootstrap resample is `figures_of(weights @ statistics)`. `note` says what was used and how to read it.
    """

    statistics: np.ndarray
    figures_of: Callable[[np.ndarray], dict[str, np.ndarray]]
    note: str

    @property
    def per_study(self) -> dict[str, np.ndarray]:
        """Each figure [studies] of every study on its own."""
        return self.figures_of(self.statistics)

    @property
    def figures(self) -> dict[str, float]:
        """Each figure of all studies."""
        return {name: float(value) for name, value in self.figures_of(self.statistics.sum(axis=0)).items()}


def means_over_studies(per_study: dict[str, np.ndarray], note: str) -> LearnedScores:
    """Scores whose value for the corpus is the mean over studies."""
    names = tuple(per_study)
    columns = [np.asarray(per_study[name], dtype=np.float64) for name in names]

    def figures_of(sums: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {name: sums[..., index] / sums[..., -1] for index, name in enumerate(names)}

    return LearnedScores(
        statistics=np.stack([*columns, np.ones(len(columns[0]))], axis=1), figures_of=figures_of, note=note
    )
