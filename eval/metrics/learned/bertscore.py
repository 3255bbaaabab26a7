"""BERTScore (Zhang et al. 2020): tokens matched by cosine similarity of their BERT features.

Without IDF weighting and rescaling: the values of bert-score 0.3.13 with `idf=False`. Scores of different models or
layers are not comparable, so both are printed. `load_bert` loads a BERT for the metrics that need one (safetensors
only).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaModel,
)

from eval.metrics.learned.registry import LearnedScores, means_over_studies
from vlm.config import BaseWeights
from vlm.layers.pretrained import load_pretrained, read_architecture
from vlm.schema.report_format import report_body


def load_bert(
    metric: str, where: str, kinds: Mapping[str, tuple[type, dict[str, Any]]], *, fix: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model (on a GPU if available) and tokenizer. `kinds`: class and constructor options by `model_type`.

    Raises:
        ValueError: one of them cannot be loaded or has another type; names the metric and ends with the `fix`.
    """
    path = Path(where)
    if path.is_file() or (path.is_dir() and not any(path.glob("*.safetensors"))):
        raise ValueError(
            f"{metric}={where}: this is not a folder with safetensors weights; .pth and .bin files are not loaded "
            f"because they can run code. {fix}"
        )
    base = BaseWeights(name=where)
    try:
        kind = read_architecture(base)["model_type"]
        if kind not in kinds:
            raise ValueError(f"this is a {kind}, not one of {', '.join(kinds)}")
        model_class, options = kinds[kind]
        model, tokenizer = load_pretrained(model_class, base, **options), AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ValueError(f"{metric}={where}: {error}. {fix}") from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


BATCH_SIZE = 16
KINDS = {
    "bert": (BertModel, {"add_pooling_layer": False}),
    "distilbert": (DistilBertModel, {}),
    "roberta": (RobertaModel, {"add_pooling_layer": False}),
}
LAYERS = {
    ("bert", 12): 9,
    ("bert", 24): 18,
    ("distilbert", 6): 5,
    ("roberta", 6): 5,
    ("roberta", 12): 10,
    ("roberta", 24): 17,
}
"""The layer with the best agreement with humans, by type and depth (table of bert-score); else the last."""
FIX = "Give a folder or hub id of a BERT, RoBERTa or DistilBERT with config.json, tokenizer files and safetensors"


@torch.inference_mode()
def bertscore(where: str, predictions: Sequence[str], references: Sequence[str]) -> LearnedScores:
    """Precision, recall and F1 of reports without headings; an empty report scores 0.

    Raises:
        ValueError: the model (safetensors) or its tokenizer cannot be loaded.
    """
    model, tokenizer = load_bert("bertscore", where, KINDS, fix=FIX)
    kind, depth = model.config.model_type, model.config.num_hidden_layers
    layer = LAYERS.get((kind, depth), depth)
    scores: list[tuple[float, float, float]] = []
    for start in range(0, len(predictions), BATCH_SIZE):
        chosen = slice(start, start + BATCH_SIZE)
        texts = [report_body(report) for report in (*predictions[chosen], *references[chosen])]
        features = _features(model, tokenizer, layer, texts)
        pairs = zip(features[: len(features) // 2], features[len(features) // 2 :], strict=True)
        scores += [_match(*pair) for pair in pairs]
    return means_over_studies(
        dict(zip(("bertscore_precision", "bertscore_recall", "bertscore_f1"), np.transpose(scores), strict=True)),
        note=f"BERTScore with {where} ({kind}, layer {layer} of {depth}), no IDF weighting, not rescaled",
    )


def _features(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int, texts: list[str]
) -> list[tuple[Tensor, Tensor]]:
    """Unit vectors [tokens, width] of each text, and a mask without special tokens."""
    max_length = model.config.max_position_embeddings
    if model.config.model_type == "roberta":
        # RoBERTa positions start after the padding index, and each word starts with a space, also the first one.
        max_length -= model.config.pad_token_id + 1
        texts = [f" {text}" if text else "" for text in texts]
    tokens = tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=max_length,
        return_special_tokens_mask=True,
        return_tensors="pt",
    ).to(model.device)
    hidden = model(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True
    ).hidden_states[layer]
    unit = torch.nn.functional.normalize(hidden, dim=-1)
    is_there, is_own = tokens["attention_mask"].bool(), ~tokens["special_tokens_mask"].bool()
    return [(vectors[there], own[there]) for vectors, there, own in zip(unit, is_there, is_own, strict=True)]


def _match(prediction: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> tuple[float, float, float]:
    (predicted, predicted_is_own), (true, true_is_own) = prediction, reference
    if not (predicted_is_own.any() and true_is_own.any()):
        return 0.0, 0.0, 0.0
    similarity = predicted @ true.T
    precision = float(similarity.amax(dim=1)[predicted_is_own].mean())
    recall = float(similarity.amax(dim=0)[true_is_own].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
