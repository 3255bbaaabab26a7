"""Metrics that need weights, a package or Java. Each is loaded only on request, by name and location.

`learned_scores("chexbert", "weights/chexbert", predictions, references)`. If something is missing, a ValueError says
how to get it, so that a program can report it and continue with the other metrics. Scores are per-study statistics and
figures computed from their sums.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedScores:
    """`figures_of` computes figures [...] by name from `statistics` [studies, k] or sums of them [..., k].

    A bootstrap resample is `figures_of(weights @ statistics)`. `note` says what was used and how to read it.
    """

    statistics: np.ndarray
    figures_of: Callable[[np.ndarray], dict[str, np.ndarray]]
    note: str

    @property
    def per_study(self) -> dict[str, np.ndarray]:
        """Each figure per study [studies]."""
        return self.figures_of(self.statistics)

    @property
    def figures(self) -> dict[str, float]:
        """Each figure over all studies."""
        return {name: float(value) for name, value in self.figures_of(self.statistics.sum(axis=0)).items()}


def means_over_studies(per_study: dict[str, np.ndarray], note: str) -> LearnedScores:
    """Scores whose corpus value is the mean over studies."""
    names = tuple(per_study)
    columns = [np.asarray(per_study[name], dtype=np.float64) for name in names]

    def figures_of(sums: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {name: sums[..., index] / sums[..., -1] for index, name in enumerate(names)}

    return LearnedScores(
        statistics=np.stack([*columns, np.ones(len(columns[0]))], axis=1), figures_of=figures_of, note=note
    )


LEARNED = {
    "bertscore": ("eval.metrics.learned.bertscore", "bertscore"),
    "chexbert": ("eval.metrics.learned.chexbert", "chexbert_f1"),
    "meteor": ("eval.metrics.learned.java_meteor", "java_meteor"),
    "radcliq": ("eval.metrics.learned.radgraph", "radcliq"),
    "radgraph": ("eval.metrics.learned.radgraph", "radgraph_f1"),
}
"""Module and function. Modules are imported on use because some import torch."""

WHERE = {
    "bertscore": "a folder or hub id of a BERT, RoBERTa or DistilBERT",
    "chexbert": "a folder or hub id with CheXbert as safetensors",
    "meteor": "the path of meteor-1.5.jar, or pycocoevalcap for the jar in that package; needs Java",
    "radcliq": "radeval, the name of the package",
    "radgraph": "a folder with radgraph-xl/; needs the package radgraph",
}
"""What each metric needs, for help texts."""

TAKES_NORMALIZED = frozenset({"meteor"})
"""Metrics that need normalized texts; the others need the original reports."""


def learned_scores(name: str, where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """Score one prediction and one reference per study.

    Raises:
        ValueError: unknown metric, nothing to score, or a requirement of the metric is missing.
    """
    if name not in LEARNED:
        raise ValueError(f"metric {name!r} is not known; choose one of {', '.join(LEARNED)}")
    if not where:
        raise ValueError(f"{name} needs a location: give {name}=, then {WHERE[name]}")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references: give one of each per study")
    if not len(predictions):
        raise ValueError(f"0 predictions for {name} to score: give at least one study with a reference report")
    module, function = LEARNED[name]
    return getattr(importlib.import_module(module), function)(where, predictions, references)
