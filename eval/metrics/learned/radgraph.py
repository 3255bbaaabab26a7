"""RadGraph F1 and RadCliQ-v1, computed by external packages.

RadGraph F1 (Delbrouck et al. 2022, package radgraph): entities and relations stated by both reports. The package loads
its weights with `torch.load`, not as safetensors, so only use weights that you trust.

RadCliQ-v1 (Yu et al. 2023, package radeval): a combination of RadGraph F1, BERTScore, CheXbert similarity and BLEU-2,
fitted to the errors that radiologists counted. Lower is better.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from eval.metrics.learned.registry import LearnedScores, means_over_studies

PACKAGE = "radeval"


def radcliq(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """RadCliQ-v1 per study and its mean. `where` must be "radeval": the package manages its own weights.

    Raises:
        ValueError: the package is missing, or `where` is something else.
    """
    if where != PACKAGE:
        raise ValueError(f"radcliq={where}: give radcliq={PACKAGE}; the package downloads its own weights")
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise ValueError(
            f"radcliq={where}: needs the package {PACKAGE} and the weights that it downloads from the hub: "
            f"pip install {PACKAGE}, in a separate environment because it needs torchvision ({error})"
        ) from error
    scores = package.RadEval(metrics=["radcliq"], per_sample=True)(refs=list(references), hyps=list(predictions))
    return means_over_studies(
        {"radcliq_v1": scores["radcliq_v1"]},
        note="RadCliQ-v1 by radeval, mean over studies; lower is better (ReXrank prints 1 / this mean)",
    )


MODEL_TYPE = "radgraph-xl"
LEVELS = ("simple", "partial", "complete")


def radgraph_f1(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """F1 of entities (simple), of entities with or without a relation (partial), and with relations (complete).

    `where` is a folder that contains radgraph-xl/ (config.json, vocabulary/, weights.th).

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
