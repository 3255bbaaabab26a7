"""RadGraph F1 (Delbrouck et al. 2022): entities and relations that both reports state, read by the radgraph package.

The package reads its weights by `torch.load` and not as safetensors: a user who asks for it trusts them.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from eval.learned_scores import LearnedScores, means_over_studies

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
