"""The GPT-2 decoder, trained with LoRA or with all weights.

It takes embeddings instead of token ids, so that image tokens and finding tokens can come before the text. Masked
positions are not counted, so padding anywhere changes nothing.

LoRA by peft: y = W x + (alpha / rank) B A x, with W frozen and B initialized with zeros (Hu et al. 2021, "LoRA:
Low-Rank Adaptation of Large Language Models").
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
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
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name; a user can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(module, config)


class KeyValueCache:
    """Keys and values of all layers, in one tensor per layer that grows in steps, so that a new token copies nothing.

    `length` is the number of positions in it.
    """

    GROWTH = 128

    def __init__(self, num_layers: int):
        self.layers: list[Tensor | None] = [None] * num_layers
        self.length = 0

    def append(
        self, layer: int, new: Float[Tensor, "2 batch heads new size"]
    ) -> Float[Tensor, "2 batch heads all size"]:
        """Add the new keys and values of a layer; return all of this layer."""
        end = self.length + new.shape[3]
        held = self.layers[layer]
        if held is None or held.shape[3] < end:
            grown = new.new_empty(*new.shape[:3], end + self.GROWTH, new.shape[4])
            if held is not None:
                grown[:, :, :, : self.length] = held[:, :, :, : self.length]
            self.layers[layer] = held = grown
        held[:, :, :, self.length : end] = new
        return held[:, :, :, :end]

    def select(self, rows: Int[Tensor, " selected"]) -> "KeyValueCache":
        """These rows of the batch, in this order."""
        self.layers = [held[:, rows] for held in self.layers]
        return self


class GPT2Decoder(nn.Module):
    """`language_model` is a GPT2LMHeadModel of transformers, or a peft model around it.

    It holds the layers, and `forward` runs them: without the mask, the cache and the checks of transformers, which are
    made anew for each token.
    """

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

    @property
    def transformer(self) -> nn.Module:
        """The GPT2Model, with or without peft around it."""
        return self.language_model.transformer

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.h

    def embed(self, input_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        """Token embeddings, without positions."""
        return self.language_model.get_input_embeddings()(input_ids)

    def forward(
        self,
        inputs_embeds: Float[Tensor, "batch new width"],
        attention_mask: Int[Tensor, "batch all"],
        num_prefix: int,
        cache: KeyValueCache | None = None,
    ) -> tuple[Float[Tensor, "batch kept vocabulary"], KeyValueCache | None]:
        """Logits of all but the first `num_prefix` new positions, and the cache for the next call.

        The cache is changed in place. There is none in training.

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
        if cache is None and not self.training:
            cache = KeyValueCache(num_layers=len(self.blocks))
        transformer = self.transformer
        hidden = transformer.drop(inputs_embeds + transformer.wpe(position_ids))
        mask = _visible(attention_mask, num_new)
        for layer, block in enumerate(self.blocks):
            hidden = hidden + self._attend(block.attn, block.ln_1(hidden), mask, cache, layer)
            hidden = hidden + block.mlp(block.ln_2(hidden))
        if cache is not None:
            cache.length += num_new
        # Contiguous, else the output layer would process it row by row.
        hidden = transformer.ln_f(hidden[:, num_prefix:].contiguous())
        return self.language_model.get_output_embeddings()(hidden), cache

    @staticmethod
    def _attend(
        attention: nn.Module, hidden: Tensor, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        """The attention of one layer; `mask` None: each new position sees all positions before it."""
        heads = attention.c_attn(hidden).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, keys_values = heads[0], heads[1:]
        if cache is not None:
            keys_values = cache.append(layer, keys_values)
        attended = functional.scaled_dot_product_attention(
            query,
            *keys_values,
            attn_mask=mask,
            is_causal=mask is None and query.shape[2] > 1,
            dropout_p=attention.attn_dropout.p if attention.training else 0.0,
            scale=attention.scaling,
        )
        return attention.resid_dropout(attention.c_proj(attended.transpose(1, 2).flatten(2)))

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

    def select(self, cache: KeyValueCache, rows: Int[Tensor, " selected"]) -> KeyValueCache:
        """The cache of these rows of the batch, in this order; the given one is not usable after this."""
        return cache.select(rows)


def _visible(attention_mask: Tensor, num_new: int) -> Bool[Tensor, "batch 1 new all"] | None:
    """Which positions each new position sees; None if these are all before it and itself.

    A masked position sees itself, because attention to nothing is not a number.
    """
    num_all = attention_mask.shape[1]
    if (num_new in (1, num_all)) and bool(attention_mask.all()):
        return None
    positions = torch.arange(num_all, device=attention_mask.device)
    new = positions[num_all - num_new :, None]
    return (attention_mask[:, None, None].bool() & (positions <= new)) | (positions == new)


def resolve_gpt2(name: str, *, revision: str | None) -> dict[str, Any]:
    """The architecture of a pretrained GPT-2, for DecoderConfig.

    Raises:
        ValueError: it cannot be read, or it is not a GPT-2.
    """
    architecture = read_architecture(BaseWeights(name=name, revision=revision))
    if architecture["model_type"] != "gpt2":
        raise ValueError(f"the decoder {name!r} is a {architecture['model_type']}, not a GPT-2")
    return architecture
