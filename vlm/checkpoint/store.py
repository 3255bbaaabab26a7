"""The checkpoint folder: written whole or not at all, read back strictly, safetensors only.

    config.json                what to build, how an image becomes pixel values
    model.safetensors          all weights that are in no base
    adapter/, encoder_adapter/ LoRA, in peft's own format
    tokenizer.json, …          as transformers writes them
    calibration.json           temperature and thresholds
    ood.*                      what images it knows, where training could tell
    training_data.json         what it learned from (vlm.checkpoint.provenance)

A base that LoRA keeps frozen is named in `config.json`, not copied; `merge_checkpoint` writes a folder that stands
alone.

The checkpoint that ships with the project, by a name that means the same on every machine.

Whatever reads with a model reads with this one where no other is named; and `--checkpoint cxrscribe-tiny`,
`--init-from cxrscribe-tiny` name it. A folder of that name is written with a path: `./cxrscribe-tiny`.
"""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vlm.checkpoint.provenance import PROVENANCE_FILE
from vlm.config import ReportModelConfig
from vlm.inputs.tokenizer import load_tokenizer
from vlm.model import ReportModel
from vlm.schema.strict_json import read_json, to_json
from vlm.uncertainty import Calibration, OodDetector, load_ood_detector, save_ood_detector

SHIPPED = "cxrscribe-tiny"
SHIPPED_CHECKPOINT = Path(__file__).parents[1] / "weights" / "tiny"


def shipped_checkpoint() -> Path:
    """Its folder.

    Raises:
        ValueError: it is not there, as in a copy of the code without its weights.
    """
    if not (SHIPPED_CHECKPOINT / "config.json").is_file():
        raise ValueError(
            f"{SHIPPED}, the checkpoint that ships with the project, is not in {SHIPPED_CHECKPOINT}; "
            "fetch the project again with its weights, or name a checkpoint folder of your own"
        )
    return SHIPPED_CHECKPOINT


def told(name: str | Path) -> str:
    """The line by which a program says which model it reads with."""
    return f"Model: {name}" + (", which ships with the project" if name == SHIPPED else "")


WEIGHTS = "model.safetensors"
IDENTITY_FILES = (
    *("config.json", "calibration.json", WEIGHTS),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt"),
    *("adapter/*.json", "adapter/*.safetensors", "encoder_adapter/*.json", "encoder_adapter/*.safetensors"),
)
"""Files that decide what a checkpoint writes, as patterns below its folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A report model with all that belongs to it."""

    model: ReportModel
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration
    ood_detector: OodDetector | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the folder beside its place and then puts it there, so that a killed run leaves no half of one.

    A base that LoRA does not keep frozen was trained, so it is saved whole and no longer named.
    """
    model = checkpoint.model
    config = _without_trained_bases(model.config)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "config.json").write_text(to_json(config), encoding="utf-8")
    (partial / "calibration.json").write_text(to_json(checkpoint.calibration), encoding="utf-8")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _own_tensors(model, config).items()}
    save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
    for name, (parent, attribute) in _adapters(model).items():
        # "auto" would ask the hub about the base.
        getattr(parent, attribute).save_pretrained(str(partial / name), save_embedding_layers=False)
        (partial / name / "README.md").unlink(missing_ok=True)
    checkpoint.tokenizer.save_pretrained(str(partial))
    if checkpoint.ood_detector is not None:
        save_ood_detector(partial, checkpoint.ood_detector)
    _replace_folder(partial, folder)


def load_checkpoint(folder: Path) -> Checkpoint:
    """The model, tokenizer and calibration of a folder that `save_checkpoint` wrote, or of the best of a run.

    Raises:
        ValueError: the folder, a file, a key or a tensor is missing, unknown or of the wrong shape; names it.
    """
    folder = find_checkpoint(folder)
    path = folder / "config.json"
    config = read_json(path, ReportModelConfig)
    calibration = read_json(folder / "calibration.json", Calibration)
    tokenizer = load_tokenizer(folder)
    try:
        model = ReportModel(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _read_tensors(folder / WEIGHTS, _own_tensors(model, config))
    for name, (parent, attribute) in _adapters(model).items():
        adapter = getattr(parent, attribute).named_parameters()
        targets = {key.replace(".default.", "."): tensor for key, tensor in adapter if ".lora_" in key}
        _read_tensors(folder / name / "adapter_model.safetensors", targets)
    return Checkpoint(
        model=model.eval(), tokenizer=tokenizer, calibration=calibration, ood_detector=load_ood_detector(folder)
    )


def fetch_checkpoint(name: str | Path, *, revision: str | None = None) -> Path:
    """The folder of that name, the one that ships with the project, or the files of the hub repository of that name.

    Raises:
        ValueError: there is none of them.
    """
    if name == SHIPPED:
        return shipped_checkpoint()
    folder = Path(name)
    if folder.is_dir():
        return find_checkpoint(folder)
    try:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.md"]
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{name} is neither a checkpoint folder nor a hub repository: {error}") from error


def find_checkpoint(folder: Path) -> Path:
    """The folder itself, or best/ in it where it is the output folder of a run.

    Raises:
        ValueError: it is neither.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the checkpoint folder that train/finetune.py wrote")
    if (folder / "config.json").is_file():
        return folder
    if (folder / "best").is_dir():
        return folder / "best"
    raise ValueError(
        f"{folder} holds no checkpoint, neither config.json nor best/; a run has one after its first validation"
    )


def checkpoint_hash(name: str) -> str:
    """Identify all files that decide what a checkpoint writes, in 16 hex digits; a hub id stays as it is.

    Only IDENTITY_FILES count: what other files lie in the folder (an index, a training log) changes nothing.
    """
    if name != SHIPPED and not Path(name).is_dir():
        return name
    folder = fetch_checkpoint(name)
    digest = hashlib.sha256()
    for path in sorted({path for pattern in IDENTITY_FILES for path in folder.glob(pattern)}):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def merge_checkpoint(folder: Path, output: Path) -> None:
    """Writes a checkpoint equal to `folder` that needs no base and no adapter.

    Raises:
        ValueError: as `load_checkpoint`, or `output` exists.
    """
    if output.exists():
        raise ValueError(f"{output} exists; name a new folder for the merged checkpoint")
    folder = find_checkpoint(folder)
    checkpoint = load_checkpoint(folder)
    merge_adapters(checkpoint.model)
    save_checkpoint(output, checkpoint)
    for name in ("training_config.json", PROVENANCE_FILE, "README.md"):
        if (folder / name).is_file():
            shutil.copy(folder / name, output / name)


def merge_adapters(model: ReportModel) -> None:
    """Adds each adapter to the weights it adapts; the model then has no LoRA and needs no base."""
    for parent, attribute in _adapters(model).values():
        setattr(parent, attribute, getattr(parent, attribute).merge_and_unload())
    model.config = _without_trained_bases(replace(model.config, lora=None))


def _adapters(model: ReportModel) -> dict[str, tuple[nn.Module, str]]:
    """Where the model has LoRA, by the name of its folder: the parent module and the attribute that is adapted."""
    places = {"adapter": (model.decoder, "language_model"), "encoder_adapter": (model.encoder, "backbone")}
    return {name: place for name, place in places.items() if isinstance(getattr(*place, None), PeftModel)}


def _own_tensors(model: ReportModel, config: ReportModelConfig) -> dict[str, Tensor]:
    """The tensors that `model.safetensors` holds, by the names they would have without LoRA.

    All but adapters and named bases; a tensor under two names (GPT-2's tied read-out) once.
    """
    bases = {"encoder.backbone.": config.encoder.base, "decoder.language_model.": config.decoder.base}
    elsewhere = tuple(prefix for prefix, base in bases.items() if base is not None)
    persistent = model.state_dict(keep_vars=True).keys()
    named = [*model.named_parameters(), *(named for named in model.named_buffers() if named[0] in persistent)]
    return {
        name.replace(".base_model.model.", ".").replace(".base_layer.", "."): tensor
        for name, tensor in named
        if not name.startswith(elsewhere) and ".lora_" not in name
    }


def _without_trained_bases(config: ReportModelConfig) -> ReportModelConfig:
    if config.lora is None:
        config = replace(config, decoder=replace(config.decoder, base=None))
    if config.lora is None or config.lora.train_encoder:
        config = replace(config, encoder=replace(config.encoder, base=None))
    return config


def _read_tensors(path: Path, targets: dict[str, Tensor]) -> None:
    """Fills the targets from a safetensors file that holds them all and nothing else."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; the checkpoint is incomplete")
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be half-written") from error
    with file:
        names = set(file.keys())
        missing, unknown = sorted(targets.keys() - names), sorted(names - targets.keys())
        if missing or unknown:
            problem = (
                f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which config.json has no place for"
            )
            raise ValueError(
                f"{path} {problem} ({len(missing)} missing, {len(unknown)} unknown); it belongs to another model"
            )
        for name, target in targets.items():
            shape = tuple(file.get_slice(name).get_shape())
            if shape != tuple(target.shape):
                raise ValueError(f"{path}: {name!r} has shape {shape} but config.json asks for {tuple(target.shape)}")
            with torch.no_grad():
                target.copy_(file.get_tensor(name))


def _replace_folder(partial: Path, folder: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
