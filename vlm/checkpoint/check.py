"""Checks of a checkpoint that is being loaded: sizes that need no huge memory, and a model that runs.

A damaged or edited configuration must end in a message that names the file, not in an error of a library.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from vlm.config import ReportModelConfig
from vlm.inputs.batch import Prior, batch_images
from vlm.inputs.patch_features import PatchFeatures
from vlm.model import ReportModel

GPT2_VOCAB_SIZE = 50257
"""Of a configuration that does not state it, as in transformers."""
MAX_NUMBER = 2**24
"""No size of an architecture is larger."""
LAYERS = ("n_layer", "num_hidden_layers", "depths", "num_layers", "encoder_layers")
"""Sizes that count layers. A file with N tensors has at most N layers, and each layer takes memory."""


def check_sizes(config: ReportModelConfig, path: Path, weights: Path) -> None:
    """Check the numbers of both architectures before a model is built from them.

    Raises:
        ValueError: a number is too large, or not finite; names the file and the key.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            num_tensors = len(list(file.keys()))
    except (OSError, SafetensorError):  # reported when the weights are read
        return
    for part in ("encoder", "decoder"):
        for key, number in _numbers(getattr(config, part).architecture):
            limit = num_tensors if key.split(".")[0] in LAYERS else MAX_NUMBER
            if not abs(number) <= limit:
                raise ValueError(
                    f"{path}: {part} architecture: {key} is {number}, which does not fit {weights.name} with its "
                    f"{num_tensors} tensors; restore the value with which the model was trained"
                )


def check_vocabulary(config: ReportModelConfig, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Raises ValueError if the tokenizer has more tokens than the decoder."""
    vocab_size = config.decoder.architecture.get("vocab_size", GPT2_VOCAB_SIZE)
    if isinstance(vocab_size, int) and vocab_size < len(tokenizer):
        raise ValueError(
            f"{path}: decoder architecture: vocab_size is {vocab_size}, but the tokenizer in {path.parent} has "
            f"{len(tokenizer)} tokens; restore the file with which the model was trained"
        )


def check_output(model: ReportModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Run the model on a gray image, with a prior if it compares, and predict a token.

    Raises:
        ValueError: the model does not run, or its output is not finite.
    """
    size = model.config.image.size
    try:
        with torch.inference_mode():
            image = Image.new("L", (size, size), 128)
            priors = [Prior(images=[image])] if model.config.prior else None
            patch_features = PatchFeatures(model.encoder, model.config.image, torch.device("cpu"))
            inputs = batch_images(image, None, None, priors, tokenizer=tokenizer, patch_features=patch_features)
            prefix = model.prefix(**inputs)
            start = torch.tensor([[tokenizer.bos_token_id, tokenizer.eos_token_id]])
            embeds = torch.cat([prefix.embeds, model.decoder.embed(start)], dim=1)
            mask = torch.cat([prefix.mask, torch.ones_like(start)], dim=1)
            logits, _ = model.decoder(embeds, mask, prefix.mask.shape[1])
    except Exception as error:  # libraries raise any error for sizes that do not fit together
        raise ValueError(f"{path}: the model does not run: {describe_error(error)}") from error
    if not (logits.isfinite().all() and prefix.findings.logits.isfinite().all()):
        raise ValueError(f"{path}: the output of the model is not finite; restore the values of the training")


def describe_error(error: Exception) -> str:
    """The error of a library in one line."""
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return f"{' '.join(text.split())[:300]}; restore the values with which the model was trained"


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in nested lists and dictionaries, with their keys."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
