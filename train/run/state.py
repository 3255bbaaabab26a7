"""Full training states: everything a killed run needs to go on to the same losses, as safetensors and JSON.

Trained weights and buffers, AdamW's moments, and the random state of each process. The learning rate and the order
of studies follow from the step alone (`train.loop.step`, `train.studies.dataset`). Accelerate's own states are
pickles, which
this project does not read.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlm.schema.strict_json import read_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a run has come."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """The epoch that goes on."""
    epoch_step: int = 0
    """Steps of it that are done."""
    best: tuple[float, ...] = ()
    """Scores of the best validation so far, the first the most important."""
    best_epoch: int = -1


def save_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Writes states/step-…; it takes its name only when it is whole. Only the main process calls this."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in _trained_tensors(model, optimizer).items()}
    names = _parameter_names(model)
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            tensors[f"optimizer.{key}.{names[parameter]}"] = torch.as_tensor(value)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial / "state.safetensors"
    )
    (partial / "position.json").write_text(json.dumps(dataclasses.asdict(position)) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def save_random_state(folder: Path, rank: int) -> None:
    """Each process's random state (dropout draws from it), into the folder before it is finished by `save_state`."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    save_file(states, partial / f"random-{rank}.safetensors")


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, rank: int = 0) -> Position:
    """Puts model, optimiser and random state back as they were.

    Raises:
        ValueError: the state is of another model or another number of processes.
    """
    tensors = load_file(folder / "state.safetensors")
    targets = _trained_tensors(model, optimizer)
    saved = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    if saved.keys() != targets.keys():
        odd = sorted(saved.keys() ^ targets.keys())
        raise ValueError(f"{folder} is a state of another model ({len(odd)} tensors differ, first {odd[0]!r})")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(saved[name])
    parameters = {name: parameter for parameter, name in _parameter_names(model).items()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, key, parameter_name = name.split(".", 2)
            parameter = parameters[parameter_name]
            optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
    path = folder / f"random-{rank}.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} is missing: the run was saved with fewer processes; resume with as many as it had")
    random = load_file(path)
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return read_json(folder / "position.json", Position)


def latest_state(states: Path) -> Path | None:
    """The newest whole state of a run."""
    found = [path for path in states.glob("step-*") if path.suffix != ".partial"]
    return max(found, default=None)


def drop_old_states(states: Path, keep: int) -> None:
    found = sorted(path for path in states.glob("step-*") if path.suffix != ".partial")
    for path in found[:-keep]:
        shutil.rmtree(path)


def state_folder(states: Path, step: int) -> Path:
    return states / f"step-{step:08d}"


def _trained_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser has in hand, also where it rests at the moment, and the buffers."""
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    tensors = {name: parameter for name, parameter in model.named_parameters() if parameter in trained}
    persistent = model.state_dict(keep_vars=True).keys()
    return tensors | {name: buffer for name, buffer in model.named_buffers() if name in persistent}


def _parameter_names(model: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in model.named_parameters()}
