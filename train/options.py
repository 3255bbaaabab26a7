"""The settings of a fine-tuning run; each field is a flag of train/finetune.py with its docstring as help.

The settings of a pretraining run; each field is a flag of train/pretrain.py with its docstring as help.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.augment import Augmentation
from vlm.config import DECODER_SIZES, ENCODER_SIZES, LoraSettings
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
    max_grad_norm: float = 1.0

    save_steps: int = 200
    """Optimiser steps between full states; a killed run loses at most these."""
    save_total_limit: int = 2
    resume: bool = False
    """Go on from the last state in the output folder."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """auto: bf16 where the device computes in it, else full precision."""
    num_workers: int = 1
    """Processes that read samples."""
    seed: int = 0

    def __post_init__(self):
        at_least_one = ("num_epochs", "batch_size", "gradient_accumulation_steps", "save_steps", "save_total_limit")
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
    """Masked autoencoding (He et al. 2022) of a ViT on the images alone: most patches are hidden, and the ViT learns
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
    """Images are decoded once and kept in memory if, at the size the model sees, all fit in this; else they are read
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


OF_THE_START = (
    "encoder",
    "encoder_revision",
    "decoder",
    "decoder_revision",
    "tokenizer",
    "vocab_size",
    "image_size",
    "patch_stride",
    "pool",
    "num_query_heads",
    "finding_tokens",
)
"""Settings that a checkpoint to start from has decided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions:
    """Fine-tune a report model on a prepared data set."""

    dataset: str
    """Folder that `python -m data.prepare` wrote."""
    output_dir: str
    """Where the run goes: log, states, and the best checkpoint under best/."""
    num_studies: int = 0
    """Learn only so many studies of the train split, drawn by --seed, smaller numbers from among those of larger ones:
    to see what more studies are worth. 0: all."""
    repeats: int = 1
    """How often an epoch has each of these studies: 500 studies 40 times make as many steps as 20,000 once."""
    extra_dataset: str | None = None
    """Another prepared data set, of corrections say, whose train split is learned beside that of --dataset. Validation
    stays with --dataset; studies that show one of its held-out images are left out."""
    extra_repeats: int = 1
    """How often an epoch has each study of --extra-dataset: a few corrections are lost among thousands of studies."""

    init_from: str | None = None
    """Checkpoint folder (or run, or hub id) of a report model to go on from: with its encoder, decoder, tokenizer and
    image size, which are then not given."""
    encoder: str = "tiny"
    """Image encoder: a built-in size (nano, tiny, small, base, cnn, resnet, convnext), a local folder or a hub id."""
    encoder_revision: str | None = None
    """Commit of the encoder's hub repository."""
    decoder: str = "tiny"
    """Report writer: a built-in GPT-2 size (nano, tiny, small, base), a local folder or a hub id of any GPT-2; or
    the LSTM baseline: lstm, lstm-nano, lstm-small, lstm-base."""
    decoder_revision: str | None = None
    """Commit of the decoder's hub repository."""
    tokenizer: str | None = None
    """Folder or hub id; by default the pretrained decoder's own, else one trained on the training reports."""
    vocab_size: int = 2000
    """Tokens of a vocabulary trained on the reports."""
    image_size: int = 224
    """Side in pixels of the square that the encoder sees."""
    patch_stride: int | None = None
    """Distance of neighbouring patches of a built-in ViT; smaller than the patch makes them overlap."""
    pool: int = 2
    """Side of the square of patches joined into one image token."""
    num_query_heads: int = 4
    """Attention heads of the finding queries."""
    finding_tokens: bool = True
    """Show the decoder the finding queries' tokens and tell it what the classifier decided, and where it looked.
    --no-finding-tokens, to see what they are worth: the classifier learns as ever, but the decoder reads image and
    indication alone, and language epochs teach it language in general."""

    lora: bool = True
    """Adapt the pretrained decoder by LoRA, with it and a pretrained encoder frozen; --no-lora trains all weights. An
    encoder without pretrained weights is always trained."""
    lora_settings: LoraSettings = field(default_factory=LoraSettings)

    num_epochs: int = 10
    findings_epochs: int = 0
    """So many of the first epochs learn the findings alone, without the decoder, which is several times cheaper.
    The learning rate warms up and falls anew when the next stage begins."""
    text_only_epochs: int = 0
    """So many epochs after those teach the decoder alone to write what it is told of the findings (by their labels, and
    of their places by boxes), without images: what a decoder that starts from random weights or new LoRA learns most
    cheaply in this way."""
    freeze_after_findings: bool = False
    """After the findings epochs the encoder and the finding queries rest, and only the report's side learns."""
    batch_size: int = 16
    """Studies a device sees at once."""
    gradient_accumulation_steps: int = 1
    """Batches to each optimiser step; they are weighted by their tokens, so 4 of 4 equal 1 of 16."""
    learning_rate: float = 5e-4
    encoder_learning_rate: float | None = None
    """For the encoder, where it is trained; by default `learning_rate`."""
    weight_decay: float = 0.05
    warmup_fraction: float = 0.05
    """Part of a stage's steps in which the learning rate rises; then it falls to 0 along a cosine."""
    max_grad_norm: float = 1.0
    finding_weight: float = 1.0
    """Weight of the findings' loss beside the report's loss per token."""
    box_weight: float = 0.3
    """Weight of the loss by which a finding's attention learns to lie as its boxes do, for studies that have boxes."""
    uncertain_labels: Literal["positive", "negative", "ignore"] = "positive"
    """How the classifier learns from findings that the label leaves open."""
    max_report_tokens: int = 200
    """Longer reports are cut there in training; how many is said before the run."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    use_augmentation: bool = True

    view_dropout: float = 0.1
    """Part of the training studies whose view positions are hidden, drawn anew each epoch: a bare PNG does not tell its
    own, and the model must have met that."""

    num_validation_reports: int = 200
    """Reports generated on validation after each epoch, the first so many studies."""
    max_new_tokens: int = 128
    """Length limit of those reports."""
    save_steps: int = 200
    """Optimiser steps between full states; a killed run loses at most these."""
    save_total_limit: int = 2
    resume: bool = False
    """Go on from the last state in the output folder."""
    merge: bool = False
    """Also write merged/, the best checkpoint with LoRA merged and no base needed."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """auto: bf16 where the device computes in it, else full precision."""
    num_workers: int = 1
    """Processes that decode and augment images."""
    image_cache_gib: float = 1.0
    """Images are decoded once and kept in memory if, at the size the model sees, all fit in this."""
    seed: int = 0

    def __post_init__(self):
        at_least_one = ("num_epochs", "batch_size", "gradient_accumulation_steps", "save_steps", "save_total_limit")
        for name in (*at_least_one, "repeats", "extra_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.num_studies < 0:
            raise ValueError(f"--num-studies must be at least 1, or 0 for all, got {self.num_studies}")
        if not 0 <= self.findings_epochs <= self.num_epochs:
            raise ValueError(f"--findings-epochs must lie in 0..{self.num_epochs} epochs, got {self.findings_epochs}")
        if not 0 <= self.text_only_epochs <= self.num_epochs - self.findings_epochs:
            raise ValueError(
                f"--text-only-epochs must lie in 0..{self.num_epochs - self.findings_epochs}, the epochs that "
                f"--findings-epochs leave, got {self.text_only_epochs}"
            )
        if self.freeze_after_findings and not 0 < self.findings_epochs < self.num_epochs:
            raise ValueError(
                f"--freeze-after-findings needs epochs before and after it: give --findings-epochs between 1 and "
                f"{self.num_epochs - 1}, got {self.findings_epochs}"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"--warmup-fraction must lie in [0, 1), got {self.warmup_fraction}")
        if not 0 <= self.view_dropout <= 1:
            raise ValueError(f"--view-dropout must lie in [0, 1], got {self.view_dropout}")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate must be above 0, got {self.learning_rate}")
        if self.init_from is not None:
            for name in OF_THE_START:
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    flag = f"--{name.replace('_', '-')}"
                    raise ValueError(
                        f"{flag} cannot be given with --init-from, whose checkpoint has its own; leave it out"
                    )
        if self.extra_dataset is None and self.extra_repeats != 1:
            raise ValueError(f"--extra-repeats {self.extra_repeats} needs --extra-dataset; give both or none")
        if not Path(self.dataset).exists():
            raise ValueError(f"--dataset {self.dataset} does not exist; make one with `python -m data.prepare`")
