"""Options of every training run, and those of train/finetune.py.

Each field is a flag, and its docstring is the help text. Groups only order the help: the flags have no prefix, and
training_config.json, which holds the options of a run, has no nesting for them.
"""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from tyro.conf import OmitArgPrefixes

from train.augment import Augmentation
from vlm.config import ENCODER_SIZES, LoraSettings
from vlm.schema.strict_json import former_name, formerly, from_dict

Options = TypeVar("Options", bound="TrainingOptions")


class OptionGroup:
    """Base of the groups that `OmitArgPrefixes` marks."""

    __slots__ = ()

    def check_at_least(self, minimum: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < minimum:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizationOptions(OptionGroup):
    """Batches, learning rate and weight updates."""

    batch_size: int = 64
    """Samples per device and forward pass."""
    gradient_accumulation_steps: int = 1
    """Batches per optimizer step. Losses are averaged over all of them, so 4 batches of 16 equal 1 batch of 64."""
    learning_rate: float = 1e-3
    """Highest learning rate, after the warm-up."""
    weight_decay: float = 0.05
    """Weight decay of AdamW. Biases, norms and embeddings have none."""
    warmup_fraction: float = 0.05
    """Fraction of the steps in which the learning rate increases; then it decreases to 0 along a cosine."""
    max_grad_norm: float = field(default=1.0, metadata=formerly("max_gradient_norm"))
    """A longer gradient is scaled down to this norm."""

    def __post_init__(self):
        self.check_at_least(1, "batch_size", "gradient_accumulation_steps")
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(f"--warmup-fraction must be in [0, 1), got {self.warmup_fraction}")
        if self.learning_rate <= 0:
            raise ValueError(f"--learning-rate must be above 0, got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptimization(OptimizationOptions):
    """Batches, learning rate and weight updates. The learning rate has one warm-up per stage."""

    batch_size: int = 16
    """Studies per device and forward pass."""
    learning_rate: float = 5e-4
    encoder_learning_rate: float | None = None
    """Learning rate of the encoder, if it is trained. Default: the same as --learning-rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions(OptionGroup):
    """Saved states, precision, processes and seed."""

    save_steps: int = field(default=200, metadata=formerly("state_every"))
    """Optimizer steps between saved states. A killed run loses at most this many steps."""
    save_total_limit: int = field(default=2, metadata=formerly("keep_states"))
    """Number of saved states to keep."""
    early_stopping: int = 0
    """End the run after this many epochs without a better one; only epochs of the last stage count. 0: never."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 if the GPU supports it, otherwise fp32."""
    num_workers: int = 1
    """Worker processes that load and augment the data. 0: load in the main process."""
    seed: int = 0

    def __post_init__(self):
        self.check_at_least(1, "save_steps", "save_total_limit")
        self.check_at_least(0, "num_workers", "early_stopping")


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneRun(RunOptions):
    """Saved states, precision, processes and seed."""

    shard: bool = False
    """Divide the model among the processes: weights, gradients and optimizer states (FSDP2). Each process then needs
    less memory for training, but every validation gathers the weights. Without it, each process holds all (DDP)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLoadingOptions(OptionGroup):
    """Augmentation on or off, and the image cache."""

    use_augmentation: bool = True
    image_cache_gib: float = 1.0
    """Memory for decoded images, in GiB. If all images fit at the input size, each is decoded only once; otherwise
    they are read from disk in every epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneImages(ImageLoadingOptions):
    """Augmentation on or off, the image cache, and saved features of a frozen encoder."""

    feature_cache: str | None = None
    """Folder for the patch features of a frozen encoder. Each image is encoded once, without augmentation, and later
    epochs and runs with the same encoder and images read the features, which is many times faster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """Options of every training run."""

    output_dir: str
    """Output folder: weights, log and saved states."""
    num_epochs: int = 10
    """Number of epochs. With --resume it may be raised; the learning rate then follows the schedule of the new number
    from the current step on, so it jumps up."""
    resume: bool = False
    """Continue the run in the output folder from its last saved state."""
    optimization: OmitArgPrefixes[OptimizationOptions] = field(default_factory=OptimizationOptions)
    run: OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)

    def __post_init__(self):
        if self.num_epochs < 1:
            raise ValueError(f"--num-epochs must be at least 1, got {self.num_epochs}")

    def as_json(self) -> dict[str, Any]:
        """The options for training_config.json, without the groups."""
        flat: dict[str, Any] = {}
        for name, value in json.loads(json.dumps(dataclasses.asdict(self))).items():
            flat |= value if isinstance(getattr(self, name), OptionGroup) else {name: value}
        return flat


def read_options(path: Path, kind: type[Options]) -> Options:
    """Options of the type `kind` from the training_config.json of a run; missing ones get their default.

    Raises:
        ValueError: the file is missing, a name is unknown or a value is invalid; the message starts with the path.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; give the output folder of a training run")
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON object ({error}); restore the file of the run") from error
    if values.get("precision") == "no":  # the name of fp32 before version 0.3
        values["precision"] = "fp32"
    if values.get("init_from") is not None:  # the checkpoint defines these, and their defaults may have been others
        values = {name: value for name, value in values.items() if name not in ArchitectureOptions.__dataclass_fields__}
    groups: dict[str, dict[str, Any]] = {}
    for group, hint in typing.get_type_hints(kind).items():
        if isinstance(hint, type) and issubclass(hint, OptionGroup):
            names = {name for option in dataclasses.fields(hint) for name in (option.name, former_name(option))}
            groups[group] = {name: values.pop(name) for name in names & values.keys()}
    return from_dict(values | groups, kind, where=str(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchitectureOptions(OptionGroup):
    """Model architecture. Not allowed with --init-from, because the checkpoint defines these."""

    encoder_revision: str | None = None
    """Commit of the encoder's hub repository."""
    encoder_layers: int | None = None
    """Number of layers of a pretrained ViT to use, from the first; by default all. The middle layers often hold more of
    an X-ray than the last ones, and cost less."""
    decoder_revision: str | None = None
    """Commit of the decoder's hub repository."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer. Default: that of the pretrained decoder, otherwise one trained on the
    reports."""
    vocab_size: int = 2000
    """Vocabulary size of a tokenizer trained on the reports."""
    image_size: int = 224
    """Width and height of the encoder's input in pixels."""
    patch_stride: int | None = None
    """Distance between neighboring patches of a built-in ViT; patches overlap if it is smaller than the patch size."""
    pool: int = 4
    """Blocks of this many by this many patches become one image token. 2 gives four times as many tokens, which
    take longer and wrote no better reports (docs/LOG.md)."""
    num_query_heads: int = 4
    """Attention heads of the finding queries."""
    linear_probe: bool = False
    """Add a linear layer on the mean and maximum of the patch features to the finding logits. It learns from few
    studies and few epochs what a linear probe would."""
    finding_tokens: bool = True
    """Give the decoder one token per finding, with the classifier's output and attention. --no-finding-tokens is for
    ablations: the decoder then gets only image and indication, and text-only epochs train a plain language model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions(OptionGroup):
    """Training studies and their text."""

    num_studies: int = 0
    """Train on only this many studies of the train split, sampled by --seed; a smaller sample is a subset of a larger
    one. 0: all."""
    repeats: int = 1
    """How often each of these studies appears in an epoch."""
    extra_dataset: str | None = None
    """A second data set, for example corrections; its train split is added to that of --dataset. Its studies are
    left out if they show a validation or test image of --dataset."""
    extra_repeats: int = 1
    """How often each study of --extra-dataset appears in an epoch, to give a few corrections more weight."""
    stream: bool = False
    """Read --dataset while the training runs, from a folder or hub repository of Parquet files, as `python -m
    data.pipeline.parquet` and `push_to_hub` write them. Neither the disk nor the memory needs room for it, and no
    decoded image is kept."""
    shuffle_buffer: int = 1000
    """With --stream: number of studies that are held in memory and shuffled together, for each process. The row groups
    of the files are read in random order."""
    prior: Literal["auto", "on", "only", "off"] = "auto"
    """Compare with the prior study of a study. auto: if the training data has prior studies, and the classifier is
    trained or its checkpoint compares already. only: the findings epochs train nothing but the comparison, on the
    studies with a prior, so the probabilities of the findings stay as they are. off: show no prior study."""
    max_report_tokens: int = 200
    """Longer reports are truncated in training; the summary before the run shows how many."""
    view_dropout: float = 0.1
    """Fraction of the training studies with hidden view positions, sampled in each epoch. The model must know them: a
    PNG file does not contain its view position."""
    prior_report_dropout: float = 0.5
    """Fraction of the prior studies whose report is hidden, sampled in each epoch. If the report is always shown, the
    decoder takes the comparison from its words and not from the images."""

    def __post_init__(self):
        self.check_at_least(1, "repeats", "extra_repeats", "shuffle_buffer")
        if self.num_studies < 0:
            raise ValueError(f"--num-studies must be at least 1, or 0 for all, got {self.num_studies}")
        if self.extra_dataset is None and self.extra_repeats != 1:
            raise ValueError(f"--extra-repeats {self.extra_repeats} needs --extra-dataset; give both or none")
        for name in ("view_dropout", "prior_report_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name.replace('_', '-')} must be in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions(OptionGroup):
    """Stages of training. Epochs that are not in the first two stages train on images and reports."""

    findings_epochs: int = 0
    """The first epochs train only the finding classifier, without the decoder, which is several times cheaper."""
    text_only_epochs: int = field(default=0, metadata=formerly("language_epochs"))
    """The next epochs train only the decoder, without images: it gets the finding labels and the positions of
    bounding boxes. This is the cheapest start for random weights or new LoRA weights."""
    decide_findings: bool = False
    """Condition the decoder on decisions: in training on the labels, later on the classifier's decisions at its
    thresholds, which have the highest F1 on validation. Otherwise it reads probabilities, and seldom states a finding
    that is rare or hard to see. The checkpoint keeps this choice, and a run with --init-from does too."""
    freeze_after_findings: bool = False
    """Freeze the encoder and the finding queries after the findings epochs; without findings epochs, from the start.
    Then only the projectors and the decoder are trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossOptions(OptionGroup):
    """Weights of the losses."""

    finding_weight: float = 1.0
    """Weight of the finding loss; the report loss has weight 1."""
    box_weight: float = 0.3
    """Weight of the box loss, which trains a finding's attention on its bounding boxes where a study has boxes."""
    severity_weight: float = 0.5
    """Weight of the severity loss, which trains the severity of a finding (small, moderate, large) where it is known.
    A model estimates severities if the training data knows some."""
    change_weight: float = 0.5
    """Weight of the change loss, which trains how a finding changed since the prior study (new, worse, unchanged,
    better, resolved) where it is known."""
    uncertain_labels: Literal["positive", "negative", "ignore"] = "positive"
    """How the classifier learns from uncertain labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationOptions(OptionGroup):
    """Validation after each epoch, and the merged checkpoint."""

    num_validation_reports: int = 200
    """Number of validation studies, from the first, for which reports are generated."""
    max_new_tokens: int = 128
    """Maximum length of these reports."""
    merge: bool = False
    """Also write merged/: the best checkpoint with LoRA merged into the weights, which needs no base model."""
    merge_precision: Literal["fp32", "fp16"] = "fp32"
    """Precision of the file in merged/. fp16 halves it; the weights are read back as fp32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions(TrainingOptions):
    """Fine-tune a report model on a prepared data set."""

    dataset: str
    """Data set from `python -m data.prepare`."""
    init_from: str | None = field(default=None, metadata=formerly("start_from"))
    """Start from this report model: a checkpoint folder, a run, or a hub id. It defines encoder, decoder, tokenizer
    and image size, so those options are not allowed."""
    average_with: tuple[str, ...] = ()
    """Start from the mean of the weights of --init-from and of these report models (Wortsman et al. 2022). The mean of
    a model before and after it was fine-tuned forgets less of what it knew before."""
    encoder: str = "tiny"
    """Image encoder: a built-in size (nano, tiny, small, base, cnn, resnet, convnext), a local folder or a hub id. A
    folder may also be a run or checkpoint of this project, and cxrscribe-tiny is one; its encoder and finding queries
    are used. Without a preprocessor_config.json, a pretrained encoder gets --image-size and ImageNet's mean and
    deviation."""
    decoder: str = "tiny"
    """Text decoder: a built-in GPT-2 size (nano, tiny, small, base), a local folder or hub id of any GPT-2, or the
    LSTM baseline (lstm, lstm-nano, lstm-small, lstm-base)."""
    lora: bool = True
    """Train LoRA weights; a pretrained encoder and decoder are frozen. Without LoRA, all weights are trained. Random
    weights of an encoder are always trained."""

    optimization: OmitArgPrefixes[FinetuneOptimization] = field(default_factory=FinetuneOptimization)
    stages: OmitArgPrefixes[StageOptions] = field(default_factory=StageOptions)
    studies: OmitArgPrefixes[StudyOptions] = field(default_factory=StudyOptions)
    losses: OmitArgPrefixes[LossOptions] = field(default_factory=LossOptions)
    architecture: OmitArgPrefixes[ArchitectureOptions] = field(default_factory=ArchitectureOptions)
    validation: OmitArgPrefixes[ValidationOptions] = field(default_factory=ValidationOptions)
    images: OmitArgPrefixes[FinetuneImages] = field(default_factory=FinetuneImages)
    run: OmitArgPrefixes[FinetuneRun] = field(default_factory=FinetuneRun)
    augmentation: Augmentation = field(default_factory=Augmentation)
    lora_settings: LoraSettings = field(default_factory=LoraSettings)

    @property
    def sees_images(self) -> bool:
        """Whether any epoch trains on images."""
        return self.stages.text_only_epochs < self.num_epochs

    def __post_init__(self):
        TrainingOptions.__post_init__(self)
        stages = self.stages
        remaining = self.num_epochs - stages.findings_epochs
        if not 0 <= stages.findings_epochs <= self.num_epochs:
            raise ValueError(f"--findings-epochs must be in 0..{self.num_epochs} epochs, got {stages.findings_epochs}")
        if not 0 <= stages.text_only_epochs <= remaining:
            raise ValueError(
                f"--text-only-epochs must be in 0..{remaining}, the epochs after --findings-epochs, got "
                f"{stages.text_only_epochs}"
            )
        is_random = self.init_from is None and self.encoder in ENCODER_SIZES
        if stages.freeze_after_findings and not is_random <= stages.findings_epochs < self.num_epochs:
            raise ValueError(
                "--freeze-after-findings needs epochs after it, and with random weights of the encoder also before it: "
                f"give --findings-epochs between {is_random:d} and {self.num_epochs - 1}, got {stages.findings_epochs}"
            )
        if self.init_from is not None:
            for part, names in ((self, ("encoder", "decoder")), (self.architecture, None)):
                for option in dataclasses.fields(part):
                    if (names is None or option.name in names) and getattr(part, option.name) != option.default:
                        raise ValueError(
                            f"--{option.name.replace('_', '-')} cannot be given with --init-from, because the "
                            "checkpoint defines it; leave it out"
                        )
        elif self.average_with:
            raise ValueError("--average-with needs --init-from, a checkpoint of the same parts; give both or none")
        if self.images.feature_cache is not None and self.run.shard:
            raise ValueError("--shard cannot be given with --feature-cache, which computes the features in one process")
        if not self.dataset:
            raise ValueError("--dataset is empty; give a data set from `python -m data.prepare`")
        if self.studies.stream:
            self._check_stream()
        elif self.studies.shuffle_buffer != StudyOptions().shuffle_buffer:
            raise ValueError(f"--shuffle-buffer {self.studies.shuffle_buffer} needs --stream; give both or none")
        elif not Path(self.dataset).exists():
            raise ValueError(f"--dataset {self.dataset} does not exist; make one with `python -m data.prepare`")

    def _check_stream(self) -> None:
        """Raises ValueError for options that need all studies at hand."""
        studies, prepare = self.studies, "leave it out, or train on a prepared data set without --stream"
        needs = {
            "--num-studies": (studies.num_studies > 0, "a sample has studies in all files"),
            "--repeats": (studies.repeats > 1, "each study is read once in an epoch"),
            "--extra-dataset": (studies.extra_dataset is not None, "its images are compared with all held-out images"),
            "--prior only": (studies.prior == "only", "it trains on few studies of each file"),
            "--feature-cache": (self.images.feature_cache is not None, "it holds the features of all images"),
            "--image-cache-gib": (
                self.images.image_cache_gib not in (0, ImageLoadingOptions().image_cache_gib),
                "no image is kept",
            ),
        }
        for name, (is_given, reason) in needs.items():
            if is_given:
                raise ValueError(f"{name} cannot be given with --stream: {reason}; {prepare}")
