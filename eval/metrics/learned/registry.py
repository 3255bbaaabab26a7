"""Metrics that need weights, a package or Java: each loaded only when asked for, by name and where to find it.

`learned_scores("chexbert", "weights/chexbert", predictions, references)`. What is missing is a ValueError that says
how to get it, so that a program can report it and go on with the rest.

What a metric that needs weights, a package or Java gives: statistics of each study, and figures of their sums.
"""

import importlib
from collections.abc import Callable, Sequence
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


LEARNED = {
    "bertscore": ("eval.metrics.learned.bertscore", "bertscore"),
    "chexbert": ("eval.metrics.learned.chexbert", "chexbert_f1"),
    "meteor": ("eval.metrics.learned.java_meteor", "java_meteor"),
    "radcliq": ("eval.metrics.learned.radgraph", "radcliq"),
    "radgraph": ("eval.metrics.learned.radgraph", "radgraph_f1"),
}
"""Module and function; the modules are imported on use, for some import torch."""

WHERE = {
    "bertscore": "a folder or hub id of a BERT, RoBERTa or DistilBERT",
    "chexbert": "a folder or hub id with CheXbert as safetensors",
    "meteor": "the path of meteor-1.5.jar, or pycocoevalcap for the jar in that package; needs Java",
    "radcliq": "radeval, the name of the package",
    "radgraph": "a folder with radgraph-xl/; needs the package radgraph",
}
"""What each metric is to be given, for help texts."""

TAKES_NORMALIZED = frozenset({"meteor"})
"""Compares words, so give it the normalised texts; the others read reports as they were written."""


def learned_scores(name: str, where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """Scores of one prediction and one reference a study.

    Raises:
        ValueError: no such metric, nothing to score, or what the metric needs is not there.
    """
    if name not in LEARNED:
        raise ValueError(f"metric {name!r} is not known; choose one of {', '.join(LEARNED)}")
    if not where:
        raise ValueError(f"{name} must be told where to find what it needs: give {name}=, then {WHERE[name]}")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references: give one of each a study")
    if not len(predictions):
        raise ValueError(f"0 predictions for {name} to score: give at least one study with a reference report")
    module, function = LEARNED[name]
    return getattr(importlib.import_module(module), function)(where, predictions, references)
