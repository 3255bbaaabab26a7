"""The GPT-2 decoder, trained with LoRA or with all weights.

It takes embeddings instead of token ids, so that image tokens and finding tokens can come before the text. Masked
positions are not counted, so padding anywhere changes nothing.

LoRA by peft: y = W x + (alpha / rank) B A x, with W frozen and B initialized with zeros (Hu et al. 2021, "LoRA:
Low-Rank Adaptation of Large Language Models").
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from vlm.config import BaseWeights, DecoderConfig, LoraSettings
from vlm.layers.pretrained import build_config, load_pretrained, read_architecture


def add_lora(module: nn.Module, settings: LoraSettings, projections: Sequence[str]) -> PeftModel:
    """Add an adapter to each projection whose name ends with one of `projections`, and freeze the rest.

    Raises:
        ValueError: the module has no such projection; lists those that it has.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    for projection in projections:
        if not any(name.endswith(f".{projection}") for name in layers):
            known = sorted({re.sub(r"^.*\d+\.", "", name) for name in layers if re.search(r"\d+\.", name)})
            raise ValueError(f"no projection {projection!r} to adapt; known projections: {', '.join(known)}")
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


class GPT2Decoder(nn.Module):
    """`language_model` is a GPT2LMHeadModel of transformers, or a peft model around it."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        if config.base is not None:
            self.language_model = load_pretrained(GPT2LMHeadModel, config.base)
        else:
            self.language_model = GPT2LMHeadModel(build_config({"model_type": "gpt2"} | config.architecture))
        if self.language_model.config.activation_function == "gelu_new":
            # The same function as one operation instead of eight.
            for block in self.language_model.transformer.h:
                block.mlp.act = nn.GELU(approximate="tanh")
        self.width = self.language_model.config.n_embd
        self.num_positions = self.language_model.config.n_positions

    def embed(self, input_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        """Token embeddings, without positions."""
        return self.language_model.get_input_embeddings()(input_ids)

    def forward(
        self,
        inputs_embeds: Float[Tensor, "batch new width"],
        attention_mask: Int[Tensor, "batch all"],
        num_prefix: int,
        cache: Any = None,
    ) -> tuple[Float[Tensor, "batch kept vocabulary"], Any]:
        """Logits of all but the first `num_prefix` new positions, and the cache for the next call.

        `attention_mask` covers the cached positions and then the new ones.

        Raises:
            ValueError: there are more positions than the model has.
        """
        num_new = inputs_embeds.shape[1]
        position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)[:, -num_new:]
        if attention_mask.shape[1] > self.num_positions and int(position_ids.max()) >= self.num_positions:
            raise ValueError(
                f"prefix and text take {int(position_ids.max()) + 1} positions but this GPT-2 has "
                f"{self.num_positions}; use fewer views, a larger pool, a shorter indication or a shorter report"
            )
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=not self.training,
            # Indices, not a number: a slice is not contiguous, so the output layer would process it row by row.
            logits_to_keep=torch.arange(num_prefix, num_new, device=inputs_embeds.device),
        )
        return output.logits, output.past_key_values

    def prefix_attention(
        self, inputs_embeds: Float[Tensor, "batch new width"], attention_mask: Int[Tensor, "batch new"], num_prefix: int
    ) -> Float[Tensor, "batch text prefix"]:
        """Attention of each position after the prefix to each position of the prefix: mean over heads and layers."""
        implementation = self.language_model.config._attn_implementation
        self.language_model.set_attn_implementation("eager")  # other implementations return no attention
        try:
            attentions = self.language_model(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0),
                use_cache=False,
                output_attentions=True,
                logits_to_keep=1,
            ).attentions
        finally:
            self.language_model.set_attn_implementation(implementation)
        return torch.stack([layer[:, :, num_prefix:, :num_prefix].mean(dim=1) for layer in attentions]).mean(dim=0)

    def select(self, cache: Any, rows: Int[Tensor, " selected"]) -> Any:
        """The cache of these rows of the batch, in this order."""
        cache.batch_select_indices(rows)
        return cache


def resolve_gpt2(name: str, *, revision: str | None) -> dict[str, Any]:
    """The architecture of a pretrained GPT-2, for DecoderConfig.

    Raises:
        ValueError: it cannot be read, or it is not a GPT-2.
    """
    architecture = read_architecture(BaseWeights(name=name, revision=revision))
    if architecture["model_type"] != "gpt2":
        raise ValueError(f"the decoder {name!r} is a {architecture['model_type']}, not a GPT-2")
    return architecture
