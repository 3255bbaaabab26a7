"""LoRA on chosen projections, by peft: y = W x + (alpha / rank) B A x, with W frozen and B zero at the start.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

import re
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from vlm.config import LoraSettings


def add_lora(module: nn.Module, settings: LoraSettings, projections: Sequence[str]) -> PeftModel:
    """The module with an adapter on each projection whose name ends as one of `projections`; all else is frozen.

    Raises:
        ValueError: a projection is not in the module; names those that are.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    for projection in projections:
        if not any(name.endswith(f".{projection}") for name in layers):
            known = sorted({re.sub(r"^.*\d+\.", "", name) for name in layers if re.search(r"\d+\.", name)})
            raise ValueError(f"no projection {projection!r} to adapt; there are: {', '.join(known)}")
    pattern = rf".*\.({'|'.join(map(re.escape, projections))})"
    adapted = [layer for name, layer in layers.items() if re.fullmatch(pattern, name)]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=pattern,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in adapted),
    )
    return get_peft_model(module, config)
