"""Options of train/pretrain.py, for images and for texts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from train.augment import Augmentation
from train.options import ImageLoadingOptions, OptionGroup, TrainingOptions
from vlm.config import DECODER_SIZES, ENCODER_SIZES
from vlm.inputs.tokenizer import MAX_PROMPT_TOKENS


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainOptions(TrainingOptions):
    """Options of both kinds of pretraining."""

    datasets: tuple[str, ...]
    """One or more data sets from `python -m data.prepare`. The model is trained on their train splits; the best epoch
    is chosen on their validation splits. The test splits are not read."""
    num_epochs: int = 20
    """Number of epochs. With --resume it may be raised, as in fine-tuning."""

    def __post_init__(self):
        TrainingOptions.__post_init__(self)  # super() fails: slots=True creates a new class
        if not self.datasets:
            raise ValueError("--datasets is empty; give at least one that `python -m data.prepare` wrote")
        for folder in self.datasets:
            if not Path(folder).exists():
                raise ValueError(f"--datasets {folder} does not exist; make it with `python -m data.prepare`")
            if [Path(other).resolve() for other in self.datasets].count(Path(folder).resolve()) > 1:
                raise ValueError(f"--datasets {folder} is given twice; name each data set once")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions(PretrainOptions):
    """Pretrain a ViT on images alone by masked autoencoding (He et al. 2022): most patches are masked, and the ViT
    learns to reconstruct them. The output folder can be given to `train/finetune.py --encoder`."""

    encoder: Literal["nano", "tiny", "small", "base"] = "tiny"
    """Built-in size of the ViT."""
    image_size: int = 224
    """Width and height of the ViT's input in pixels; a multiple of the patch size, 16."""
    mask_ratio: float = 0.75
    """Fraction of masked patches."""
    images: OmitArgPrefixes[ImageLoadingOptions] = field(default_factory=ImageLoadingOptions)
    # Weaker than for fine-tuning: random masks already augment the images (He et al. 2022, section 4).
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(max_rotation=7.0, max_shift=0.05, max_zoom=0.05, max_shear=5.0)
    )

    def __post_init__(self):
        PretrainOptions.__post_init__(self)
        patch = ENCODER_SIZES[self.encoder]["patch_size"]
        if self.image_size < 2 * patch or self.image_size % patch:
            below = max(2, self.image_size // patch) * patch
            raise ValueError(
                f"--image-size {self.image_size} cannot be divided into patches of {patch} pixels; give a multiple "
                f"from {2 * patch} on, such as {below} or {below + patch}"
            )
        if not 0 < self.mask_ratio < 1 or not 0 < self.num_visible < self.num_patches:
            raise ValueError(
                f"--mask-ratio {self.mask_ratio:g} must leave some of the {self.num_patches} patches visible and mask "
                "some; 0.75 is usual"
            )

    @property
    def num_patches(self) -> int:
        return (self.image_size // ENCODER_SIZES[self.encoder]["patch_size"]) ** 2

    @property
    def num_visible(self) -> int:
        """Number of visible patches, rounded as in transformers."""
        return int(self.num_patches * (1 - self.mask_ratio))


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenOptions(OptionGroup):
    """Tokenizer and length of the texts."""

    tokenizer: str | None = None
    """Folder or hub id of a tokenizer. Default: train one on the reports."""
    vocab_size: int = 2000
    """Vocabulary size of a tokenizer trained on the reports."""
    max_report_tokens: int = 200
    """Longer reports are truncated; the summary before the run shows how many."""
    max_position_shift: int = 200
    """In fine-tuning, image and finding tokens precede the report. Therefore each text starts at a random position
    from 0 to this value, so that the later positions are trained too."""

    def __post_init__(self):
        self.check_at_least(1, "vocab_size", "max_report_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions(PretrainOptions):
    """Pretrain a GPT-2 on reports alone by next-token prediction, with the indication as the prompt. The output folder
    contains the tokenizer and can be given to `train/finetune.py --decoder`."""

    decoder: Literal["nano", "tiny", "small", "base"] = "tiny"
    """Built-in size of the GPT-2."""
    tokens: OmitArgPrefixes[TokenOptions] = field(default_factory=TokenOptions)

    def __post_init__(self):
        PretrainOptions.__post_init__(self)
        num_positions, tokens = DECODER_SIZES[self.decoder]["n_positions"], self.tokens
        room = num_positions - MAX_PROMPT_TOKENS - 1 - tokens.max_report_tokens
        if not 0 <= tokens.max_position_shift <= room:
            raise ValueError(
                f"--max-position-shift must be in 0..{max(0, room)}: {self.decoder!r} has {num_positions} positions, "
                f"shared with the indication and --max-report-tokens {tokens.max_report_tokens}; got "
                f"{tokens.max_position_shift}"
            )
