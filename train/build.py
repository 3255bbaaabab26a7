"""Build the model and its tokenizer from the options."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers import PreTrainedTokenizerBase

from train.options import FinetuneOptions
from vlm.checkpoint.store import (
    SHIPPED,
    SHIPPED_CHECKPOINT,
    fetch_checkpoint,
    find_checkpoint,
    load_checkpoint,
    merge_adapters,
)
from vlm.config import (
    DECODER_SIZES,
    ENCODER_SIZES,
    BaseWeights,
    DecoderConfig,
    EncoderConfig,
    ImageGeometry,
    LoraSettings,
    ReportModelConfig,
)
from vlm.inputs.tokenizer import load_tokenizer, train_tokenizer
from vlm.layers.encoder import resolve_encoder
from vlm.layers.gpt2 import resolve_gpt2
from vlm.model import ReportModel
from vlm.schema.strict_json import read_json
from vlm.uncertainty import Calibration

IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
LSTM_SIZES = {"lstm": "tiny", "lstm-nano": "nano", "lstm-small": "small", "lstm-base": "base"}


def build_tokenizer(options: FinetuneOptions, reports: Iterable[str]) -> PreTrainedTokenizerBase:
    """Load the tokenizer of --init-from, of --tokenizer or of the pretrained decoder, otherwise train one on the
    reports."""
    if options.init_from is not None:
        return load_tokenizer(fetch_checkpoint(options.init_from))
    if options.architecture.tokenizer is not None:
        return load_tokenizer(options.architecture.tokenizer)
    if options.decoder not in DECODER_SIZES and options.decoder not in LSTM_SIZES:
        return load_tokenizer(options.decoder, revision=options.architecture.decoder_revision)
    return train_tokenizer(reports, vocab_size=options.architecture.vocab_size)


def build_model(
    options: FinetuneOptions,
    tokenizer: PreTrainedTokenizerBase,
    *,
    knows_severities: bool = False,
    has_priors: bool = False,
) -> ReportModel:
    """Build a model for training. It estimates severities if it can learn them: if the training data knows some, and
    the classifier is trained. It compares with prior studies if the training data has some, in the same way.

    Raises:
        ValueError: a name is neither built-in nor readable, or the parts do not fit together; or --prior on or only,
            and the model cannot learn it.
    """
    if options.init_from is not None:
        model = _initial_model(options)
    else:
        trained = _trained_encoder(options)
        model = ReportModel(_config(options, tokenizer, trained))
        if trained is not None:
            if trained.severity_head is not None:
                model.add_severity()
            if trained.change_head is not None:
                model.add_prior()
            for part in ("encoder", "view_embedding", "finding_queries", "severity_head", "change_head"):
                setattr(model, part, getattr(trained, part))
    is_frozen = options.stages.freeze_after_findings and not options.stages.findings_epochs
    is_trained = options.sees_images and not is_frozen
    learns_severities = knows_severities and is_trained and options.studies.prior != "only"
    if learns_severities and model.severity_head is None:
        model.add_severity()
    if options.studies.prior != "off" and model.change_head is None:
        if has_priors and is_trained:
            model.add_prior()
        elif options.studies.prior != "auto":
            raise ValueError(
                f"--prior {options.studies.prior} needs training studies with a prior, and epochs that train the "
                "classifier: give such a data set, and leave out --freeze-after-findings or give --findings-epochs"
            )
    if options.lora:
        model.adapt(options.lora_settings if options.init_from is not None else _lora(options))
    if is_frozen or options.studies.prior == "only":
        model.freeze_image_encoder()
    if options.studies.prior == "only":
        model.change_head.requires_grad_(is_trained)
    return model


def _initial_model(options: FinetuneOptions) -> ReportModel:
    """The model of --init-from; with --average-with, its weights are the means over all of these checkpoints."""
    model, vocabulary = _merged(options.init_from)
    sums = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for name in options.average_with:
        other, other_vocabulary = _merged(name)
        same_config = replace(other.config, preprocessing=model.config.preprocessing) == model.config
        if not same_config or other_vocabulary != vocabulary:
            raise ValueError(
                f"--average-with {name} and --init-from {options.init_from} differ in "
                f"{'the tokenizer' if same_config else 'config.json'}; only models of the same parts, one trained "
                "from the other, have a useful mean"
            )
        for key, tensor in other.state_dict().items():
            sums[key] += tensor
    means = {name: total / (1 + len(options.average_with)) for name, total in sums.items()}
    model.load_state_dict({name: means[name].to(tensor.dtype) for name, tensor in model.state_dict().items()})
    return model.requires_grad_(True)


def _merged(name: str) -> tuple[ReportModel, dict[str, int]]:
    """The model of a checkpoint without LoRA, and its vocabulary."""
    checkpoint = load_checkpoint(fetch_checkpoint(name))
    merge_adapters(checkpoint.model)
    return checkpoint.model, checkpoint.tokenizer.get_vocab()


def _config(
    options: FinetuneOptions, tokenizer: PreTrainedTokenizerBase, trained: ReportModel | None
) -> ReportModelConfig:
    """The configuration of a new model, without LoRA. Encoder and finding queries are those of `trained`, if given."""
    architecture = options.architecture
    is_built_in = options.encoder in ENCODER_SIZES
    if architecture.encoder_layers is not None and (is_built_in or trained is not None):
        raise ValueError(
            "--encoder-layers needs a pretrained --encoder; a built-in one and that of a run keep all their layers"
        )
    if trained is None:
        encoder, image = _encoder(options)
        source = architecture
    else:
        encoder, image, source = trained.config.encoder, trained.config.image, trained.config
    return ReportModelConfig(
        encoder=encoder,
        decoder=_decoder(options, tokenizer),
        image=image,
        num_query_heads=source.num_query_heads,
        linear_probe=source.linear_probe,
        pool=architecture.pool,
        use_finding_tokens=architecture.finding_tokens,
        writes_reports=False,
    )


def _trained_encoder(options: FinetuneOptions) -> ReportModel | None:
    """The report model that --encoder names, if it names one and no image encoder."""
    folder = SHIPPED_CHECKPOINT if options.encoder == SHIPPED else Path(options.encoder)
    is_report_model = (folder / "calibration.json").is_file() or (folder / "best").is_dir()
    if options.encoder in ENCODER_SIZES or not is_report_model:
        return None
    model = load_checkpoint(find_checkpoint(folder)).model
    merge_adapters(model)
    return model.requires_grad_(True)


def keep_decisions(options: FinetuneOptions) -> FinetuneOptions:
    """The options with --decide-findings if the checkpoint of --init-from was trained so.

    Raises:
        ValueError: there is no such checkpoint.
    """
    if options.init_from is None or options.stages.decide_findings:
        return options
    calibration = read_json(fetch_checkpoint(options.init_from) / "calibration.json", Calibration)
    return replace(options, stages=replace(options.stages, decide_findings=calibration.decides_reports))


def describe_adaptation(options: FinetuneOptions) -> str:
    return f"LoRA of rank {options.lora_settings.rank}" if options.lora else "all weights trained"


def _lora(options: FinetuneOptions) -> LoraSettings:
    if options.decoder in DECODER_SIZES or options.decoder in LSTM_SIZES:
        raise ValueError(
            f"LoRA needs pretrained weights, but the decoder {options.decoder!r} has random weights; give "
            "--init-from, a pretrained --decoder, or --no-lora to train all weights"
        )
    is_random = options.encoder in ENCODER_SIZES
    return replace(options.lora_settings, train_encoder=is_random or options.lora_settings.train_encoder)


def _encoder(options: FinetuneOptions) -> tuple[EncoderConfig, ImageGeometry]:
    """Gray images for built-in encoders. For a pretrained one, the size, mean and deviation of its training; without a
    preprocessor_config.json, --image-size and those of ImageNet."""
    stride, size = options.architecture.patch_stride, options.architecture.image_size
    if options.encoder in ENCODER_SIZES:
        config = EncoderConfig(architecture=ENCODER_SIZES[options.encoder], patch_stride=stride)
        return config, ImageGeometry(size=size)
    if stride is not None:
        raise ValueError("--patch-stride needs a built-in encoder; a pretrained encoder keeps its stride; leave it out")
    base = _base(options.encoder, options.architecture.encoder_revision)
    layers = options.architecture.encoder_layers
    architecture = resolve_encoder(base.name, revision=base.revision, num_layers=layers)
    processor = _image_processor(base)
    size = processor.get("crop_size") or processor.get("size") or size
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or options.architecture.image_size
    num_channels = architecture["num_channels"]
    usual = IMAGENET if num_channels == 3 else {"image_mean": (0.5,), "image_std": (0.5,)}
    mean, std = (tuple(processor.get(name, usual[name])) for name in ("image_mean", "image_std"))
    geometry = ImageGeometry(size=int(size), num_channels=num_channels, mean=mean, std=std)
    return EncoderConfig(architecture=architecture, base=base), geometry


def _decoder(options: FinetuneOptions, tokenizer: PreTrainedTokenizerBase) -> DecoderConfig:
    vocab_size = len(tokenizer)
    if options.decoder in LSTM_SIZES:
        size = DECODER_SIZES[LSTM_SIZES[options.decoder]]
        architecture = {"vocab_size": vocab_size, "n_embd": size["n_embd"], "n_layer": 2, "dropout": 0.1}
        return DecoderConfig(kind="lstm", architecture=architecture)
    if options.decoder in DECODER_SIZES:
        special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        return DecoderConfig(architecture={**DECODER_SIZES[options.decoder], "vocab_size": vocab_size, **special})
    architecture = resolve_gpt2(options.decoder, revision=options.architecture.decoder_revision)
    known = architecture.get("vocab_size", 50257)
    if vocab_size > known:
        raise ValueError(
            f"the tokenizer has {vocab_size} tokens but the decoder {options.decoder!r} has {known}; "
            "leave --tokenizer out to use the decoder's own tokenizer"
        )
    return DecoderConfig(architecture=architecture, base=_base(options.decoder, options.architecture.decoder_revision))


def _base(name: str, revision: str | None) -> BaseWeights:
    """Pretrained weights; the path of a local folder becomes absolute."""
    return BaseWeights(name=str(Path(name).resolve()) if Path(name).is_dir() else name, revision=revision)


def _image_processor(base: BaseWeights) -> dict:
    path = Path(base.name) / "preprocessor_config.json"
    if not Path(base.name).is_dir():
        try:
            path = Path(hf_hub_download(base.name, path.name, revision=base.revision))
        except (EntryNotFoundError, OSError):
            return {}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
