"""The checkpoint folder: written whole or not at all, read back strictly, safetensors only.

    config.json                what to build                        model.safetensors   all weights that are in no base
    adapter/, encoder_adapter/ LoRA, in peft's own format           tokenizer.json, …   as transformers writes them
    preprocessor_config.json   the picture's way to pixel values    calibration.json    temperature and thresholds

A base that is frozen is named in `config.json`, not copied; `merge_checkpoint` writes a folder that stands alone.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vlm.calibration import Calibration
from vlm.config import ReportModelConfig
from vlm.model import ReportModel
from vlm.strict_json import read_json, to_json
from vlm.tokenizer import load_tokenizer

WEIGHTS = "model.safetensors"
ADAPTERS = {"adapter": "decoder.language_model", "encoder_adapter": "encoder.backbone"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A report model with all that belongs to it."""

    model: ReportModel
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration


def own_tensors(model: ReportModel) -> dict[str, Tensor]:
    """The tensors that `model.safetensors` holds, by the names they would have without LoRA.

    All but adapters and frozen bases; a tensor under two names (GPT-2's tied read-out) once.
    """
    named = dict(model.named_parameters())
    persistent = model.state_dict(keep_vars=True).keys()
    named.update((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
    tensors = {}
    for name, tensor in named.items():
        is_based = (name.startswith("encoder.backbone.") and model.config.encoder.base is not None) or (
            name.startswith("decoder.language_model.") and model.config.decoder.base is not None
        )
        if not is_based and ".lora_" not in name:
            tensors[name.replace(".base_model.model.", ".").replace(".base_layer.", ".")] = tensor
    return tensors


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the folder beside its place and then puts it there, so that a killed run leaves no half of one.

    Bases that were trained are saved whole and no longer named.
    """
    model = checkpoint.model
    model.config = _without_trained_bases(model)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "config.json").write_text(to_json(model.config), encoding="utf-8")
    (partial / "calibration.json").write_text(to_json(checkpoint.calibration), encoding="utf-8")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in own_tensors(model).items()}
    save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
    for name, path in ADAPTERS.items():
        module = model.get_submodule(path) if _has_submodule(model, path) else None
        if isinstance(module, PeftModel):
            module.save_pretrained(str(partial / name))
            (partial / name / "README.md").unlink(missing_ok=True)
    checkpoint.tokenizer.save_pretrained(str(partial))
    _replace_folder(partial, folder)


def load_checkpoint(folder: Path) -> Checkpoint:
    """The model, tokenizer and calibration of a folder that `save_checkpoint` wrote.

    Raises:
        ValueError: the folder, a file, a key or a tensor is missing, unknown or of the wrong shape; names it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the checkpoint folder that train/finetune.py wrote")
    config = read_json(folder / "config.json", ReportModelConfig)
    calibration = read_json(folder / "calibration.json", Calibration)
    tokenizer = load_tokenizer(folder)
    model = ReportModel(config)
    _copy_tensors(own_tensors(model), _read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    for name, path in ADAPTERS.items():
        if _has_submodule(model, path) and isinstance(module := model.get_submodule(path), PeftModel):
            _load_adapter(module, folder / name / "adapter_model.safetensors")
    return Checkpoint(model=model.eval(), tokenizer=tokenizer, calibration=calibration)


def merge_checkpoint(folder: Path, output: Path) -> None:
    """Writes a checkpoint equal to `folder` that needs no base and no adapter.

    Raises:
        ValueError: as `load_checkpoint`, or `output` exists.
    """
    if output.exists():
        raise ValueError(f"{output} exists; name a new folder for the merged checkpoint")
    checkpoint = load_checkpoint(folder)
    model = checkpoint.model
    for path in ADAPTERS.values():
        if _has_submodule(model, path) and isinstance(module := model.get_submodule(path), PeftModel):
            parent, name = path.rsplit(".", 1)
            setattr(model.get_submodule(parent), name, module.merge_and_unload())
    model.config = replace(
        model.config,
        lora=None,
        encoder=replace(model.config.encoder, base=None),
        decoder=replace(model.config.decoder, base=None),
    )
    save_checkpoint(output, checkpoint)
    for name in ("training_config.json", "README.md"):
        if (folder / name).is_file():
            shutil.copy(folder / name, output / name)


def _without_trained_bases(model: ReportModel) -> ReportModelConfig:
    """Base weights that were trained are no longer the base's."""
    config = model.config
    for part, path in (("encoder", "encoder.backbone"), ("decoder", "decoder.language_model")):
        part_config = getattr(config, part)
        if part_config.base is not None:
            own = [
                parameter
                for name, parameter in model.get_submodule(path).named_parameters()
                if ".lora_" not in name and parameter.requires_grad
            ]
            if own:
                config = replace(config, **{part: replace(part_config, base=None)})
    return config


def _has_submodule(model: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in model.named_modules())


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the checkpoint is incomplete")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be half-written") from error


def _copy_tensors(targets: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    missing, unknown = sorted(targets.keys() - tensors.keys()), sorted(tensors.keys() - targets.keys())
    if missing or unknown:
        problem = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which config.json has no place for"
        raise ValueError(f"{path} {problem} ({len(missing)} missing, {len(unknown)} unknown); it belongs to another model")
    for name, target in targets.items():
        if target.shape != tensors[name].shape:
            raise ValueError(
                f"{path}: {name!r} has shape {tuple(tensors[name].shape)} but config.json asks for {tuple(target.shape)}"
            )
        with torch.no_grad():
            target.copy_(tensors[name])


def _load_adapter(module: PeftModel, path: Path) -> None:
    tensors = _read_tensors(path)
    expected = {name.replace(".default.", "."): value for name, value in module.named_parameters() if ".lora_" in name}
    _copy_tensors(expected, tensors, path)
    set_peft_model_state_dict(module, tensors)


def _replace_folder(partial: Path, folder: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
