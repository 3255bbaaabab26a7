"""What every text metric takes and gives: two equally long lists of strings in, a score per study and one in all out.

One reference a study. A metric that is no mean over studies keeps additive `statistics`, so that a bootstrap
resample is a matrix product of weights and statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.normalization import normalize_prediction, normalize_report


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeanScore:
    """A score whose value for the corpus is the mean over studies."""

    per_study: np.ndarray
    score: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CorpusScore:
    """A score whose value for the corpus follows from `statistics` [studies, k] summed over studies."""

    statistics: np.ndarray
    per_study: np.ndarray
    score: float


def mean_score(per_study: Sequence[float]) -> MeanScore:
    """The mean of at least one study's scores."""
    per_study = np.asarray(per_study, dtype=np.float64)
    return MeanScore(per_study=per_study, score=float(per_study.mean()))


def paired_texts(predictions: Sequence[str], references: Sequence[str], normalization: str) -> list[tuple[str, str]]:
    """Prediction and reference of each study, normalised.

    Raises:
        ValueError: the lists are empty or of unequal length, or no normalisation has that name.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references: give one of each a study")
    if not len(predictions):
        raise ValueError("0 predictions to score: give at least one study with a reference report")
    return [
        (normalize_prediction(prediction, normalization), normalize_report(reference, normalization))
        for prediction, reference in zip(predictions, references, strict=True)
    ]


def paired_words(
    predictions: Sequence[str], references: Sequence[str], normalization: str
) -> list[tuple[list[str], list[str]]]:
    """As `paired_texts`, split at white space."""
    return [(one.split(), other.split()) for one, other in paired_texts(predictions, references, normalization)]
