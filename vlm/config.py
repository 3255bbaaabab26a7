"""The shape of a report model: everything that is needed to build it, as `config.json` of a checkpoint holds it.

Built-in sizes: architectures with random weights, for training from nothing and as baselines.

Any ViT-like backbone and any GPT-2 can be named by hub id or folder instead (`vlm.layers.encoder`, `vlm.decoder`).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from vlm.schema.preprocessing import Preprocessing


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


DecoderKind = Literal["gpt2", "lstm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseWeights:
    """Pretrained weights that a checkpoint builds on and does not copy."""

    name: str
    """Hub id or local folder in Hugging Face format."""
    revision: str | None = None
    """Commit of the hub repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageGeometry:
    """How an image becomes numbers: fitted into a square, edges padded black, then (x / 255 - mean) / std."""

    size: int = 224
    """Side of the square in pixels."""
    num_channels: int = 1
    """1, or 3 with the gray image repeated, for backbones pretrained on color."""
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"image size must be at least 1 pixel, got {self.size}")
        if self.num_channels not in (1, 3):
            raise ValueError(f"num_channels must be 1 or 3, got {self.num_channels}")
        if not len(self.mean) == len(self.std) == self.num_channels:
            raise ValueError(f"mean and std need {self.num_channels} values each, got {self.mean} and {self.std}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """The image encoder."""

    architecture: dict[str, Any]
    """A transformers configuration as a dictionary with its `model_type`, or {"model_type": "plain_cnn", …}."""
    patch_stride: int | None = None
    """Distance of neighbouring patches in pixels, where ViT patches overlap; None: the patch size."""
    base: BaseWeights | None = None

    def __post_init__(self):
        if self.patch_stride is not None and self.base is not None:
            raise ValueError("patch_stride needs an encoder without a base; pretrained patches keep their stride")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The report writer."""

    kind: DecoderKind = "gpt2"
    architecture: dict[str, Any]
    """A GPT2Config as a dictionary; for the LSTM {"vocab_size", "n_embd", "n_layer", "dropout"}."""
    base: BaseWeights | None = None

    def __post_init__(self):
        if self.kind == "lstm" and self.base is not None:
            raise ValueError("an LSTM has no base weights; it is trained from nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """Low-rank adaptation, W + alpha / rank * B A (Hu et al. 2021), of chosen projections; the rest is frozen."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    decoder_projections: tuple[str, ...] = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    """GPT-2's projections that are adapted."""
    encoder_projections: tuple[str, ...] = ()
    """The encoder's, such as q_proj, v_proj; none: the encoder is frozen whole (or trained whole, see train)."""

    train_encoder: bool = False
    """Train the encoder whole instead of freezing it: what an encoder without pretrained weights needs."""

    def __post_init__(self):
        if self.train_encoder and self.encoder_projections:
            raise ValueError("LoRA on the encoder and training it whole exclude each other; choose one")
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, got {self.rank}; use --no-lora to train without it")
        if not self.decoder_projections and not self.encoder_projections:
            raise ValueError("LoRA needs at least one projection; use --no-lora to train without it")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportModelConfig:
    """A whole report model."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    image: ImageGeometry = field(default_factory=ImageGeometry)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """What the images went through before they came to the model; see `ReportGenerator.preprocess`."""
    num_query_heads: int = 4
    """Attention heads of the finding queries; the encoder's width must be a multiple."""
    pool: int = 2
    """Side of the square of patches that is joined into one image token."""
    use_finding_tokens: bool = True
    """Whether the decoder sees the finding tokens (off only for ablation)."""
    lora: LoraSettings | None = None
    writes_reports: bool = True
    """Whether the decoder has learned from any report; one that has not would write noise, so it writes nothing."""

    def __post_init__(self):
        for name in ("num_query_heads", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.lora is not None and self.lora.decoder_projections and self.decoder.kind == "lstm":
            raise ValueError("LoRA adapts a GPT-2; train the LSTM with --no-lora")
