"""The checkpoint folder: written atomically, read strictly, safetensors only.

    config.json                the architecture and the image geometry
    model.safetensors          all weights that are not in a base
    adapter/, encoder_adapter/ LoRA, in peft's format
    tokenizer.json, …          in transformers' format
    calibration.json           temperature and thresholds
    roc.json                   ROC curves on validation studies, for thresholds of other operating points
    ood.*                      the out-of-distribution check, if there were enough images to fit it
    ood_missing.json           the reason why there is no such check
    drafts.safetensors         an n-gram index for faster greedy search, only if it was asked for (vlm.drafting)
    training_data.json         the data it was trained on (vlm.checkpoint.provenance)

A base that LoRA keeps frozen is named in `config.json`, not copied; `merge_checkpoint` writes a folder that needs no
base.

The project ships one checkpoint, `cxrscribe-tiny`. It is the default of every program that needs a model, and
`--checkpoint cxrscribe-tiny` and `--init-from cxrscribe-tiny` name it. A local folder with this name needs a path:
`./cxrscribe-tiny`.
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

from vlm.checkpoint.check import check_output, check_sizes, check_vocabulary, describe_error
from vlm.checkpoint.provenance import PROVENANCE_FILE
from vlm.config import ReportModelConfig
from vlm.drafting import DraftIndex, load_draft_index, save_draft_index
from vlm.inputs.tokenizer import load_tokenizer
from vlm.model import ReportModel
from vlm.schema.atomic import atomic_folder
from vlm.schema.strict_json import read_json, to_json
from vlm.uncertainty import (
    NO_CHECK,
    Calibration,
    OodDetector,
    load_calibration,
    load_ood_detector,
    ood_absence,
    save_calibration,
    save_ood_absence,
    save_ood_detector,
)

SHIPPED = "cxrscribe-tiny"
SHIPPED_CHECKPOINT = Path(__file__).parents[1] / "weights" / "tiny"


def model_line(name: str | Path) -> str:
    """The line in which a program reports its model."""
    return f"Model: {name}" + (", the shipped checkpoint" if name == SHIPPED else "")


WEIGHTS = "model.safetensors"
IDENTITY_FILES = (
    *("config.json", "calibration.json", WEIGHTS),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt"),
    *("adapter/*.json", "adapter/*.safetensors", "encoder_adapter/*.json", "encoder_adapter/*.safetensors"),
)
"""Files that decide the output of a checkpoint, as patterns below its folder."""
OLD_MODULE_NAMES = {"finding_places": "finding_locations"}
"""Name of a module before version 0.2.0 -> its name now; weights with the old names are still read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A report model with its tokenizer, calibration and out-of-distribution check."""

    model: ReportModel
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration
    ood_detector: OodDetector | None = None
    ood_absence: str = NO_CHECK
    """Why `ood_detector` is None."""
    drafts: DraftIndex | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the folder atomically, with `model.safetensors` in this precision; it is read back as float32.

    A base that LoRA does not keep frozen was trained, so its weights are saved and it is no longer named.
    """
    model = checkpoint.model
    config = _without_trained_bases(model.config)
    with atomic_folder(folder) as partial:
        (partial / "config.json").write_text(to_json(config), encoding="utf-8")
        save_calibration(partial, checkpoint.calibration)
        tensors = {name: _for_file(tensor, dtype) for name, tensor in _own_tensors(model, config).items()}
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        for name, (parent, attribute) in _adapters(model).items():
            # "auto" would ask the hub about the base.
            getattr(parent, attribute).save_pretrained(str(partial / name), save_embedding_layers=False)
            (partial / name / "README.md").unlink(missing_ok=True)
        checkpoint.tokenizer.save_pretrained(str(partial))
        if checkpoint.drafts is not None:
            save_draft_index(partial, checkpoint.drafts)
        if checkpoint.ood_detector is not None:
            save_ood_detector(partial, checkpoint.ood_detector)
        elif checkpoint.ood_absence != NO_CHECK:
            save_ood_absence(partial, checkpoint.ood_absence)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint folder, or the best checkpoint of a run.

    Raises:
        ValueError: the folder, a file, a key or a tensor is missing, unknown or of the wrong shape; names it.
    """
    folder = find_checkpoint(folder)
    path = folder / "config.json"
    config = read_json(path, ReportModelConfig)
    calibration = load_calibration(folder)
    tokenizer = load_tokenizer(folder)
    check_vocabulary(config, tokenizer, path)
    if config.encoder.base is None and config.decoder.base is None:
        check_sizes(config, path, folder / WEIGHTS)
        with torch.random.fork_rng(), torch.device("meta"):  # takes no memory, whatever the sizes are
            for file, tensors in _files_of(_build(config, path), config).items():
                _check_tensors(folder / file, tensors)
    model = _build(config, path)
    for file, tensors in _files_of(model, config).items():
        _read_tensors(folder / file, tensors)
    check_output(model.eval(), tokenizer, path)
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        calibration=calibration,
        ood_detector=load_ood_detector(folder),
        ood_absence=ood_absence(folder),
        drafts=load_draft_index(folder, len(tokenizer)),
    )


def fetch_checkpoint(name: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a checkpoint: the shipped one, a local folder, or a downloaded hub repository.

    Raises:
        ValueError: there is none with this name.
    """
    if name == SHIPPED:
        if not (SHIPPED_CHECKPOINT / "config.json").is_file():
            raise ValueError(
                f"{SHIPPED}, the shipped checkpoint, is not in {SHIPPED_CHECKPOINT}; "
                "download the project again with its weights, or name another checkpoint folder"
            )
        return SHIPPED_CHECKPOINT
    folder = Path(name)
    if folder.is_dir():
        return find_checkpoint(folder)
    try:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.md"]
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{name} is neither a checkpoint folder nor a hub repository: {error}") from error


def find_checkpoint(folder: Path) -> Path:
    """The folder itself, or best/ in it if it is the output folder of a run.

    Raises:
        ValueError: there is no checkpoint in it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the checkpoint folder that train/finetune.py wrote")
    if (folder / "config.json").is_file():
        return folder
    if (folder / "best").is_dir():
        return folder / "best"
    raise ValueError(
        f"{folder} has no checkpoint: no config.json and no best/; a run has one after its first validation"
    )


def checkpoint_hash(name: str) -> str:
    """Hash of all files that decide the output of a checkpoint, 16 hex digits; a hub id is returned unchanged.

    Only IDENTITY_FILES count; other files in the folder (an index, a training log) do not change the hash.
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


def merge_checkpoint(folder: Path, output: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint with the outputs of `folder` that needs no base and no adapter, in this precision.

    Raises:
        ValueError: as `load_checkpoint`, or `output` exists.
    """
    if output.exists():
        raise ValueError(f"{output} exists; name a new folder for the merged checkpoint")
    folder = find_checkpoint(folder)
    checkpoint = load_checkpoint(folder)
    merge_adapters(checkpoint.model)
    save_checkpoint(output, checkpoint, dtype=dtype)
    for name in ("training_config.json", PROVENANCE_FILE, "README.md"):
        if (folder / name).is_file():
            shutil.copy(folder / name, output / name)


def merge_adapters(model: ReportModel) -> None:
    """Add each adapter to the weights it adapts; after this the model has no LoRA and needs no base."""
    for parent, attribute in _adapters(model).values():
        setattr(parent, attribute, getattr(parent, attribute).merge_and_unload())
    model.config = _without_trained_bases(replace(model.config, lora=None))


def _adapters(model: ReportModel) -> dict[str, tuple[nn.Module, str]]:
    """The parts of the model with LoRA: folder name -> parent module and attribute that is adapted."""
    parts = {"adapter": (model.decoder, "language_model"), "encoder_adapter": (model.encoder, "backbone")}
    return {name: part for name, part in parts.items() if isinstance(getattr(*part, None), PeftModel)}


def _build(config: ReportModelConfig, path: Path) -> ReportModel:
    try:
        return ReportModel(config)
    except Exception as error:  # libraries raise any error for sizes that do not fit together
        raise ValueError(f"{path}: {describe_error(error)}") from error


def _files_of(model: ReportModel, config: ReportModelConfig) -> dict[str, dict[str, Tensor]]:
    """The safetensors files of a checkpoint, each with its tensors."""
    files = {WEIGHTS: _own_tensors(model, config)}
    for name, (parent, attribute) in _adapters(model).items():
        adapter = getattr(parent, attribute).named_parameters()
        tensors = {key.replace(".default.", "."): tensor for key, tensor in adapter if ".lora_" in key}
        files[f"{name}/adapter_model.safetensors"] = tensors
    return files


def _own_tensors(model: ReportModel, config: ReportModelConfig) -> dict[str, Tensor]:
    """The tensors of `model.safetensors`, with the names they have without LoRA.

    These are all but adapters and named bases; a tensor with two names (GPT-2's tied output layer) is saved once.
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


def _for_file(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _without_trained_bases(config: ReportModelConfig) -> ReportModelConfig:
    if config.lora is None:
        config = replace(config, decoder=replace(config.decoder, base=None))
    if config.lora is None or config.lora.train_encoder:
        config = replace(config, encoder=replace(config.encoder, base=None))
    return config


def _check_tensors(path: Path, targets: dict[str, Tensor]) -> None:
    """Check that a safetensors file has exactly these tensors, without reading them."""
    with _open_tensors(path) as file:
        saved_names = {_current_name(name): name for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        missing, unknown = sorted(targets.keys() - saved_names), sorted(saved_names.keys() - targets.keys())
        if missing or unknown:
            problem = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which config.json does not have"
            raise ValueError(
                f"{path} {problem} ({len(missing)} missing, {len(unknown)} unknown); it belongs to another model"
            )
        for name, target in targets.items():
            shape = tuple(file.get_slice(saved_names[name]).get_shape())
            if shape != tuple(target.shape):
                raise ValueError(f"{path}: {name!r} has shape {shape} but config.json needs {tuple(target.shape)}")


def _read_tensors(path: Path, targets: dict[str, Tensor]) -> None:
    """Fill the targets from a safetensors file that has exactly these tensors."""
    _check_tensors(path, targets)
    with _open_tensors(path) as file, torch.no_grad():
        for saved_name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(saved_name)
            if not tensor.isfinite().all():
                raise ValueError(
                    f"{path}: {saved_name!r} holds NaN or infinite numbers; the training diverged or the file is "
                    "damaged, so use another checkpoint"
                )
            targets[_current_name(saved_name)].copy_(tensor)


def _open_tensors(path: Path) -> safe_open:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the checkpoint is incomplete")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be half-written") from error


def _current_name(name: str) -> str:
    module, dot, rest = name.partition(".")
    return OLD_MODULE_NAMES.get(module, module) + dot + rest
