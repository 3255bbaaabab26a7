"""The settings of a pretraining run; each field is a flag of train/pretrain.py with its docstring as help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.augment import Augmentation
from vlm.config import DECODER_SIZES, ENCODER_SIZES
from vlm.inputs.tokenizer import MAX_PROMPT_TOKENS

LIGHT = Augmentation(max_rotation=7.0, max_shift=0.05, max_zoom=0.05, max_shear=5.0)
"""What is masked is drawn anew each epoch, which augments more than any movement (He et al. 2022, section 4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainOptions:
    """What both kinds of pretraining have in common."""

    datasets: tuple[str, ...]
    """Folders that `python -m data.prepare` wrote, one or several. Their train splits are learned, on their
    validation splits the best epoch is chosen; their test splits are not read."""
    output_dir: str
    """Where the weights go, in Hugging Face format, with log and states beside them."""

    num_epochs: int = 20
    batch_size: int = 64
    """Samples a device sees at once."""
    gradient_accumulation_steps: int = 1
    """Batches to each optimiser step; they are weighted by what they hold, so 4 of 16 equal 1 of 64."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.05
    """Part of the steps in which the learning rate rises; then it falls to 0 along a cosine."""
    max_gradient_norm: float = 1.0

    state_every: int = 200
    """Optimiser steps between full states; a killed run loses at most these."""
    keep_states: int = 2
    resume: bool = False
    """Go on from the last state in the output folder."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """auto: bf16 where the device computes in it, else full precision."""
    num_workers: int = 1
    """Processes that read samples."""
    seed: int = 0

    def __post_init__(self):
        at_least_one = ("num_epochs", "batch_size", "gradient_accumulation_steps", "state_every", "keep_states")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"--num-workers must be 0 or more, got {self.num_workers}")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"--warmup-fraction must lie in [0, 1), got {self.warmup_fraction}")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate must be above 0, got {self.learning_rate}")
        if not self.datasets:
            raise ValueError("--datasets names none; give at least one that `python -m data.prepare` wrote")
        for folder in self.datasets:
            if not Path(folder).exists():
                raise ValueError(f"--datasets {folder} does not exist; make it with `python -m data.prepare`")
            if [Path(other).resolve() for other in self.datasets].count(Path(folder).resolve()) > 1:
                raise ValueError(f"--datasets {folder} is given twice; name each data set once")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions(PretrainOptions):
    """Masked autoencoding (He et al. 2022) of a ViT on the pictures alone: most patches are hidden, and the ViT learns
    by filling them in. Writes a folder for `train/finetune.py --encoder`."""

    encoder: Literal["nano", "tiny", "small", "base"] = "tiny"
    """Built-in size of the ViT."""
    image_size: int = 224
    """Side in pixels of the square that the ViT sees; a multiple of its patches' 16."""
    mask_ratio: float = 0.75
    """Part of the patches that is hidden."""
    augmentation: Augmentation = field(default_factory=lambda: LIGHT)
    use_augmentation: bool = True
    image_cache_gib: float = 1.0
    """Pictures are decoded once and kept in memory if, at the size the model sees, all fit in this; else they are read
    from disk as they are needed."""

    def __post_init__(self):
        PretrainOptions.__post_init__(self)  # super() needs the class, which slots make anew
        patch = ENCODER_SIZES[self.encoder]["patch_size"]
        if self.image_size < 2 * patch or self.image_size % patch:
            below = max(2, self.image_size // patch) * patch
            raise ValueError(
                f"--image-size {self.image_size} cannot be cut into patches of {patch} pixels; give a multiple from "
                f"{2 * patch} on, such as {below} or {below + patch}"
            )
        if not 0 < self.mask_ratio < 1 or not 0 < self.num_visible < self.num_patches:
            raise ValueError(
                f"--mask-ratio {self.mask_ratio:g} must leave some of the {self.num_patches} patches visible and hide "
                "some; 0.75 is usual"
            )

    @property
    def num_patches(self) -> int:
        return (self.image_size // ENCODER_SIZES[self.encoder]["patch_size"]) ** 2

    @property
    def num_visible(self) -> int:
        """Patches that the ViT sees, as transformers counts them."""
        return int(self.num_patches * (1 - self.mask_ratio))


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions(PretrainOptions):
    """Next-token pretraining of a GPT-2 on the reports alone, after their indications. Writes a folder for
    `train/finetune.py --decoder`, with its tokenizer."""

    decoder: Literal["nano", "tiny", "small", "base"] = "tiny"
    """Built-in size of the GPT-2."""
    tokenizer: str | None = None
    """Folder or hub id; by default a vocabulary is learned from the reports."""
    vocab_size: int = 2000
    """Tokens of a vocabulary learned from the reports."""
    max_report_tokens: int = 200
    """Longer reports are cut there; how many is said before the run."""
    max_position_shift: int = 200
    """In fine-tuning the report stands behind image and finding tokens. So each text here starts at a position
    drawn from 0 to this, that those positions are known."""

    def __post_init__(self):
        PretrainOptions.__post_init__(self)
        for name in ("vocab_size", "max_report_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        num_positions = DECODER_SIZES[self.decoder]["n_positions"]
        room = num_positions - MAX_PROMPT_TOKENS - 1 - self.max_report_tokens
        if not 0 <= self.max_position_shift <= room:
            raise ValueError(
                f"--max-position-shift must lie in 0..{max(0, room)}, what the {num_positions} positions of "
                f"{self.decoder!r} leave beside the indication and --max-report-tokens {self.max_report_tokens}, got "
                f"{self.max_position_shift}"
            )
