"""The peer: transformers' VisionEncoderDecoderModel, the same ViT and the same GPT-2 joined by cross-attention.

The usual way to make a report writer of the two, with transformers' own `generate`. Random weights; sdpa attention,
as on our side.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)

from bench.sizes import START_TOKEN, BenchSizes
from vlm.config import ENCODER_SIZES, LoraSettings
from vlm.layers.gpt2 import add_lora

CROSS_ATTENTION = ("crossattention.c_attn", "crossattention.q_attn", "crossattention.c_proj")


def build_peer(sizes: BenchSizes, *, lora: bool) -> VisionEncoderDecoderModel:
    """`lora`: adapters as on our side, on the same projections and on those of the cross-attention, by which alone
    the pictures reach the text; all else is frozen."""
    torch.manual_seed(0)
    vit = ENCODER_SIZES[sizes.encoder] | {"image_size": sizes.image_size, "num_channels": 3}
    encoder = ViTModel(ViTConfig(**vit), add_pooling_layer=False)
    # Joined by hand: transformers 5 fails at `from_encoder_decoder_pretrained` for this pair.
    gpt2 = GPT2LMHeadModel(GPT2Config(**sizes.decoder_architecture, add_cross_attention=True, is_decoder=True))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=gpt2)
    model.config.decoder_start_token_id = model.config.pad_token_id = START_TOKEN
    if lora:
        settings = LoraSettings()
        model.requires_grad_(False)
        model.decoder = add_lora(model.decoder, settings, settings.decoder_projections + CROSS_ATTENTION)
    return model.eval()


def write(model: VisionEncoderDecoderModel, pixel_values: Tensor, num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, greedily, as `generate` returns them but for the start token."""
    options = GenerationConfig(
        max_new_tokens=num_new_tokens,
        do_sample=False,
        decoder_start_token_id=START_TOKEN,
        pad_token_id=START_TOKEN,
        eos_token_id=None,
    )
    with torch.inference_mode():
        return model.generate(pixel_values, generation_config=options)[:, 1:].tolist()


def make_training_step(
    model: VisionEncoderDecoderModel, pixel_values: Tensor, labels: Tensor, *, learning_rate: float
) -> Callable[[], float]:
    """A function that moves the weights once and returns the loss: the usual loop, with gradients clipped as ours."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    model.train()

    def step() -> float:
        loss = model(pixel_values=pixel_values, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step
