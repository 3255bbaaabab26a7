"""RadCliQ-v1 (Yu et al. 2023): a sum of RadGraph F1, BERTScore, CheXbert likeness and BLEU-2 fitted to the errors that
radiologists counted, by the radeval package. Lower is better."""

import importlib
from collections.abc import Sequence

from eval.learned_scores import LearnedScores, means_over_studies

PACKAGE = "radeval"


def radcliq(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """RadCliQ-v1 of each study and its mean. `where` is "radeval": the package keeps its own weights.

    Raises:
        ValueError: the package is missing, or `where` is something else.
    """
    if where != PACKAGE:
        raise ValueError(f"radcliq={where}: give radcliq={PACKAGE}; the package fetches and keeps its weights itself")
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise ValueError(
            f"radcliq={where}: needs the package {PACKAGE} and the weights that it fetches from the hub: "
            f"pip install {PACKAGE}, in an environment of its own since it needs torchvision ({error})"
        ) from error
    scores = package.RadEval(metrics=["radcliq"], per_sample=True)(refs=list(references), hyps=list(predictions))
    return means_over_studies(
        {"radcliq_v1": scores["radcliq_v1"]},
        note="RadCliQ-v1 by radeval, mean over studies; lower is better (ReXrank prints 1 / this mean)",
    )
