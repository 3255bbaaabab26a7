"""Saved states: everything that a killed run needs to continue with the same losses, as safetensors and JSON.

A state holds trained weights and buffers, AdamW's moments, the random state of each process, and the validations with
which later ones are compared. The learning rate and the order of the studies depend only on the step. If the model is
divided among the processes, each writes a file of its part. Accelerate's own states are pickles, which this project
does not read.
"""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import safetensors.numpy
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from train.run.shard import local_part
from vlm.schema.atomic import atomic_folder, partial_path, write_json
from vlm.schema.strict_json import read_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    """Finished optimizer steps."""
    epoch: int = 0
    """The current epoch."""
    epoch_step: int = 0
    """Finished steps of the current epoch."""
    best_epoch: int = -1
    """Epoch of the best validation so far; -1: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationResult:
    """Result of a validation. Metrics that the data does not define are None."""

    metrics: dict[str, float | None]
    loss: float
    """The training loss on the validation samples; lower is better."""
    summary: str = ""
    studies: dict[str, np.ndarray] = field(default_factory=dict)
    """Values per study, for the bootstrap: `counts` [reports, 14, 3] and `cider` [reports] of the reports, `number`
    [reports] of their studies, `probabilities` and `labels` [studies, 14]."""
    same_report_macro_f1: float | None = None
    """The highest macro-F1 of one report for all studies."""


class RunStates:
    """The folder `states` of a run. `model` and `optimizer` are those from before `accelerator.prepare`."""

    def __init__(
        self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator, *, keep: int
    ):
        self.folder = folder / "states"
        self.model, self.optimizer, self.accelerator, self.keep = model, optimizer, accelerator, keep

    def complete(self) -> list[Path]:
        """The complete states, oldest first."""
        return sorted(self.folder.glob("step-*[0-9]"))

    def save(self, progress: Progress, validations: Mapping[str, ValidationResult] = MappingProxyType({})) -> None:
        """Save a state with the validations that later ones are compared with; all processes must call this."""
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        gathered = gather_object([random])
        folder, is_main = self.folder / f"step-{progress.step:08d}", self.accelerator.is_main_process
        partial = partial_path(folder)
        with atomic_folder(folder) if is_main else nullcontext():
            self.accelerator.wait_for_everyone()  # the folder exists
            if is_main or self._is_divided():
                save_file(self._tensors(), partial / self._file())
            if is_main:
                for rank, state in enumerate(gathered):
                    save_file(state, partial / f"random-{rank}.safetensors")
                for name, validation in validations.items():
                    safetensors.numpy.save_file(validation.studies, partial / f"{name}.safetensors")
                    write_json(partial / f"{name}.json", asdict(replace(validation, studies={})))
                write_json(partial / "progress.json", asdict(progress))
            self.accelerator.wait_for_everyone()  # all parts are written
        if is_main:
            self._clean_up()
        self.accelerator.wait_for_everyone()

    def resume(self) -> tuple[Progress, dict[str, ValidationResult]]:
        """Load the last complete state, if there is one.

        Raises:
            ValueError: the state belongs to another model or to another number of processes.
        """
        states = self.complete()
        found = self._load(states[-1]) if states else (Progress(), {})
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._clean_up()
        return found

    def _load(self, folder: Path) -> tuple[Progress, dict[str, ValidationResult]]:
        num_processes = len(list(folder.glob("random-*.safetensors")))
        if num_processes != self.accelerator.num_processes:
            raise ValueError(
                f"{folder} was saved by a run with {num_processes} process(es), but this one has "
                f"{self.accelerator.num_processes}; resume with {num_processes}, because each process has its own "
                "random state and share of the studies"
            )
        tensors = load_file(folder / self._file())
        targets = self._trained()
        saved = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        if saved.keys() != targets.keys():
            odd = sorted(saved.keys() ^ targets.keys())
            raise ValueError(f"{folder} is a state of another model ({len(odd)} tensors differ, first {odd[0]!r})")
        with torch.no_grad():
            for name, target in targets.items():
                local_part(target).copy_(saved[name])
        parameters = dict(self.model.named_parameters())
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, key, parameter_name = name.split(".", 2)
                parameter = parameters[parameter_name]
                moment = value if key == "step" else torch.zeros_like(parameter, requires_grad=False)
                local_part(moment).copy_(value)
                self.optimizer.state[parameter][key] = moment
        random = load_file(folder / f"random-{self.accelerator.process_index}.safetensors")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        validations = {
            path.stem: replace(
                read_json(path, ValidationResult),
                studies=safetensors.numpy.load_file(path.with_suffix(".safetensors")),
            )
            for path in folder.glob("*.json")
            if path.name != "progress.json"
        }
        return read_json(folder / "progress.json", Progress), validations

    def _is_divided(self) -> bool:
        return any(isinstance(parameter, DTensor) for parameter in self.model.parameters())

    def _file(self) -> str:
        return f"state-{self.accelerator.process_index}.safetensors" if self._is_divided() else "state.safetensors"

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in self._trained().items()}
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{names[parameter]}"] = torch.as_tensor(value)
        return {name: local_part(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}

    def _trained(self) -> dict[str, Tensor]:
        """All parameters of the optimizer, also those that are frozen at the moment, and the persistent buffers."""
        trained = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        tensors = {name: parameter for name, parameter in self.model.named_parameters() if parameter in trained}
        persistent = self.model.state_dict(keep_vars=True).keys()
        return tensors | {name: buffer for name, buffer in self.model.named_buffers() if name in persistent}

    def _clean_up(self) -> None:
        """Delete what a killed run left unfinished, and all but the newest states."""
        complete = self.complete()
        for path in self.folder.glob("*"):
            if path not in complete[-self.keep :]:
                shutil.rmtree(path)
