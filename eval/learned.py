"""Metrics that need weights, a package or Java: each loaded only when asked for, by name and where to find it.

`learned_scores("chexbert", "weights/chexbert", predictions, references)`. What is missing is a ValueError that says
how to get it, so that a program can report it and go on with the rest.
"""

import importlib
from collections.abc import Sequence

from eval.learned_scores import LearnedScores

LEARNED = {
    "bertscore": ("eval.bertscore", "bertscore"),
    "chexbert": ("eval.chexbert", "chexbert_f1"),
    "meteor": ("eval.java_meteor", "java_meteor"),
    "radcliq": ("eval.radcliq", "radcliq"),
    "radgraph": ("eval.radgraph_f1", "radgraph_f1"),
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
