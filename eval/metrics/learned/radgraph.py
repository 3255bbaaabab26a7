"""RadGraph F1 (Delbrouck et al. 2022): entities and relations that both reports state, read by the radgraph package.

The package reads its weights by `torch.load` and not as safetensors: a user who asks for it trusts them.

RadCliQ-v1 (Yu et al. 2023): a sum of RadGraph F1, BERTScore, CheXbert likeness and BLEU-2 fitted to the errors that
radiologists counted, by the radeval package. Lower is better.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from eval.metrics.learned.registry import LearnedScores, means_over_studies

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


MODEL_TYPE = "radgraph-xl"
LEVELS = ("simple", "partial", "complete")


def radgraph_f1(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """F1 of entities, of entities with whether they have a relation, and of entities with their relations.

    `where` is a folder that holds radgraph-xl/ (config.json, vocabulary/, weights.th).

    Raises:
        ValueError: the package or its weights are missing.
    """
    weights = Path(where) / MODEL_TYPE
    if not (weights / "weights.th").is_file():
        raise ValueError(
            f"radgraph={where}: {weights / 'weights.th'} is missing; unpack radgraph-xl.tar.gz of the hub's "
            f"StanfordAIMI/RRG_scorers into {weights} and give the folder above it"
        )
    try:
        package = importlib.import_module("radgraph")
    except ImportError as error:
        raise ValueError(f"radgraph={where}: needs the package radgraph: pip install radgraph ({error})") from error
    scorer = package.F1RadGraph(reward_level="all", model_type=MODEL_TYPE, model_cache_dir=where)
    _, per_level, *_ = scorer(hyps=list(predictions), refs=list(references))
    return means_over_studies(
        {f"radgraph_{level}": scores for level, scores in zip(LEVELS, per_level, strict=True)},
        note=f"RadGraph F1, {MODEL_TYPE} from {where}; published figures are mostly radgraph_partial",
    )
