"""Built-in sizes: architectures with random weights, for training from nothing and as baselines.

Any ViT-like backbone and any GPT-2 can be named by hub id or folder instead (`vlm.encoder`, `vlm.decoder`).
"""

from typing import Any


def _vit(width: int, layers: int, heads: int, patch: int) -> dict[str, Any]:
    return {
        "model_type": "vit",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "patch_size": patch,
    }


ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "nano": _vit(128, 4, 4, 16),
    "tiny": _vit(192, 12, 3, 16),
    "small": _vit(384, 12, 6, 16),
    "base": _vit(768, 12, 12, 16),
    "cnn": {"model_type": "plain_cnn", "widths": [24, 48, 96, 160]},
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 128, 256],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
    "convnext": {"model_type": "convnext", "hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 4, 2]},
}
"""Encoders by name; `image_size` and `num_channels` are filled in from the image geometry."""


def _gpt2(width: int, layers: int, heads: int, *, positions: int, dropout: float, deviation: float) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": positions,
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
        "attn_pdrop": dropout,
        "initializer_range": deviation,
    }


DECODER_SIZES: dict[str, dict[str, Any]] = {
    "nano": _gpt2(128, 3, 4, positions=512, dropout=0.0, deviation=0.08),
    "tiny": _gpt2(256, 6, 4, positions=512, dropout=0.1, deviation=0.06),
    "small": _gpt2(512, 8, 8, positions=1024, dropout=0.1, deviation=0.04),
    "base": _gpt2(768, 12, 12, positions=1024, dropout=0.1, deviation=0.02),
}
"""GPT-2 by name; `vocab_size` is filled in from the tokenizer. The LSTM takes its width from the same. Narrow ones
start with wider weights (about 1 / sqrt(width)): GPT-2's own 0.02 cost `nano` a third of its first epoch's progress."""
