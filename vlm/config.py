"""The configuration of a report model (`config.json` of a checkpoint), and the built-in architectures.

Built-in architectures have random weights; they are for training from scratch and for baselines. Any ViT-like backbone
and any GPT-2 can be named by hub id or folder instead (`vlm.layers.encoder`, `vlm.layers.gpt2`).
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from vlm.schema.preprocessing import Preprocessing


def _vit(width: int, layers: int, heads: int) -> dict[str, Any]:
    depth = {"num_hidden_layers": layers, "num_attention_heads": heads}
    return {"model_type": "vit", "hidden_size": width, **depth, "intermediate_size": 4 * width, "patch_size": 16}


ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "nano": _vit(128, 4, 4),
    "tiny": _vit(192, 12, 3),
    "small": _vit(384, 12, 6),
    "base": _vit(768, 12, 12),
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
"""Encoders by name; `image_size` and `num_channels` come from the image geometry."""


def _gpt2(width: int, layers: int, heads: int, *, positions: int, dropout: float, deviation: float) -> dict[str, Any]:
    size = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": positions}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    return {"model_type": "gpt2", **size, **dropouts, "initializer_range": deviation}


DECODER_SIZES: dict[str, dict[str, Any]] = {
    "nano": _gpt2(128, 3, 4, positions=512, dropout=0.0, deviation=0.08),
    "tiny": _gpt2(256, 6, 4, positions=512, dropout=0.1, deviation=0.06),
    "small": _gpt2(512, 8, 8, positions=1024, dropout=0.1, deviation=0.04),
    "base": _gpt2(768, 12, 12, positions=1024, dropout=0.1, deviation=0.02),
}
"""GPT-2 by name; `vocab_size` comes from the tokenizer. The LSTM uses the same widths. Narrow models have a larger
initializer range (about 1 / sqrt(width)): with GPT-2's 0.02, `nano` made a third less progress in the first epoch."""


MAX_IMAGE_SIZE = 4096
DecoderKind = Literal["gpt2", "lstm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseWeights:
    """Pretrained weights that a checkpoint uses but does not copy."""

    name: str
    """Hub id or local folder in Hugging Face format."""
    revision: str | None = None
    """Commit of the hub repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageGeometry:
    """From image to pixel values: resized to fit a square, padded with black, then (x / 255 - mean) / std."""

    size: int = 224
    """Side of the square in pixels."""
    num_channels: int = 1
    """1, or 3 for backbones pretrained on color images; the gray image is repeated."""
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)

    def __post_init__(self):
        if not 1 <= self.size <= MAX_IMAGE_SIZE:
            raise ValueError(f"image size must be at least 1 pixel, got {self.size}; at most {MAX_IMAGE_SIZE}")
        if self.num_channels not in (1, 3):
            raise ValueError(f"num_channels must be 1 or 3, got {self.num_channels}")
        if not len(self.mean) == len(self.std) == self.num_channels:
            raise ValueError(f"mean and std need {self.num_channels} values each, got {self.mean} and {self.std}")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise ValueError(f"mean and std must be finite and std above 0, got {self.mean} and {self.std}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """The image encoder."""

    architecture: dict[str, Any]
    """A transformers configuration as a dictionary with its `model_type`, or {"model_type": "plain_cnn", …}."""
    patch_stride: int | None = None
    """Distance of neighboring patches in pixels, for a ViT with overlapping patches; None: the patch size."""
    base: BaseWeights | None = None

    def __post_init__(self):
        if self.patch_stride is not None and self.base is not None:
            raise ValueError("patch_stride needs an encoder without a base; the stride of pretrained patches is fixed")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The text decoder."""

    kind: DecoderKind = "gpt2"
    architecture: dict[str, Any]
    """A GPT2Config as a dictionary; for the LSTM {"vocab_size", "n_embd", "n_layer", "dropout"}."""
    base: BaseWeights | None = None

    def __post_init__(self):
        if self.kind == "lstm" and self.base is not None:
            raise ValueError("an LSTM has no base weights; it is trained from scratch")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """LoRA, W + alpha / rank * B A (Hu et al. 2021), for chosen projections; the rest is frozen."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    decoder_projections: tuple[str, ...] = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    """Projections of GPT-2 to adapt."""
    encoder_projections: tuple[str, ...] = ()
    """Projections of the encoder to adapt, for example q_proj and v_proj; none: see train_encoder."""
    train_encoder: bool = False
    """Train all weights of the encoder instead of freezing it; needed without pretrained weights."""

    def __post_init__(self):
        if self.train_encoder and self.encoder_projections:
            raise ValueError("encoder_projections and train_encoder exclude each other; choose one")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRA dropout must be in [0, 1), got {self.dropout}; 0.05 is usual")
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, got {self.rank}; use --no-lora to train without it")
        if not self.decoder_projections and not self.encoder_projections:
            raise ValueError("LoRA needs at least one projection; use --no-lora to train without it")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportModelConfig:
    """The configuration of a report model."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    image: ImageGeometry = field(default_factory=ImageGeometry)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """Preprocessing of the training images; see `ReportGenerator.preprocess`."""
    num_query_heads: int = 4
    """Attention heads of the finding queries; must divide the width of the encoder."""
    linear_probe: bool = False
    """Whether the finding logits have a linear part of the mean and maximum of the patch features."""
    pool: int = 4
    """Side of the square of patches that is merged into one image token."""
    use_finding_tokens: bool = True
    """Whether the decoder gets the finding tokens (off only for ablation)."""
    severity: bool = False
    """Whether the model predicts the severity of each finding, on which the decoder is conditioned."""
    prior: bool = False
    """Whether the model compares with a prior study, if a study has one."""
    lora: LoraSettings | None = None
    writes_reports: bool = True
    """Whether the decoder was trained on reports; if not, no reports are generated, because they would be noise."""

    def __post_init__(self):
        for name in ("num_query_heads", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.lora is not None and self.lora.decoder_projections and self.decoder.kind == "lstm":
            raise ValueError("LoRA adapts a GPT-2; train the LSTM with --no-lora")
