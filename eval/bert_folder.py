"""A BERT and its tokenizer from a folder or hub id, for the metrics that need one. Safetensors only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from vlm.config import BaseWeights
from vlm.layers.pretrained import load_pretrained, read_architecture


def load_bert(
    metric: str, where: str, kinds: Mapping[str, tuple[type, dict[str, Any]]], *, mend: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model, on a GPU where there is one, and tokenizer. `kinds`: class and constructor's options by `model_type`.

    Raises:
        ValueError: one of them cannot be read or is of another kind; names the metric and ends with the `mend`.
    """
    path = Path(where)
    if path.is_file() or (path.is_dir() and not any(path.glob("*.safetensors"))):
        raise ValueError(
            f"{metric}={where}: this is no folder with weights as safetensors; a .pth or .bin file can run code when "
            f"it is opened, so none is. {mend}"
        )
    base = BaseWeights(name=where)
    try:
        kind = read_architecture(base)["model_type"]
        if kind not in kinds:
            raise ValueError(f"this is a {kind}, not one of {', '.join(kinds)}")
        model_class, options = kinds[kind]
        model, tokenizer = load_pretrained(model_class, base, **options), AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ValueError(f"{metric}={where}: {error}. {mend}") from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
