"""The output folder of a run: whose it is, its settings, its log, its states.

training_config.json   the resolved settings      train_log.jsonl   a line a step and a validation
states/                to go on from              tensorboard/      the same curves
tokenizer/             as the run began with      best/             the checkpoint to use

The states of a run on disk: saved by all its processes together, and gone back to after a kill.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from train.options import FinetuneOptions, PretrainOptions
from train.run.state import (
    Position,
    drop_old_states,
    latest_state,
    load_state,
    save_random_state,
    save_state,
    state_folder,
)

RunOptions = FinetuneOptions | PretrainOptions

MAY_CHANGE = {"resume", "num_workers", "save_steps", "save_total_limit", "output_dir", "merge", "image_cache_gib"}
"""Settings that a resumed run may give differently: they change nothing in what is learned."""


def open_run(options: RunOptions) -> Path:
    """Makes the folder of a new run, or checks that it holds the run to be resumed.

    Raises:
        ValueError: the folder holds another run, or none to resume; says which setting differs.
    """
    folder = Path(options.output_dir)
    settings = folder / "training_config.json"
    if options.resume:
        if not settings.is_file():
            raise ValueError(
                f"--resume: {folder} holds no run (no training_config.json); leave --resume out to start one"
            )
        saved = json.loads(settings.read_text(encoding="utf-8"))
        _check_same(_filled(saved, _defaults(options)), _as_json(options), settings)
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"--output-dir {folder} already holds a run or other files; give --resume to go on with it, "
            "or another folder for a new run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        settings.write_text(json.dumps(_as_json(options), indent=2) + "\n", encoding="utf-8")
    return folder


class TrainLog:
    """`train_log.jsonl`: one line a record, on disk at once."""

    def __init__(self, folder: Path):
        self.path = folder / "train_log.jsonl"

    def write(self, **record: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, step: int) -> None:
        """Drops what a killed run logged after its last state: those steps are run again."""
        if not self.path.is_file():
            return
        records = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the line that the kill cut in half
        kept = [record for record in records if record["step"] <= step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        partial.replace(self.path)


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Puts the files that `write` makes in a folder it is given into `folder`, when all are whole."""
    partial = folder / "files.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    for path in sorted(partial.iterdir()):
        path.replace(folder / path.name)
    partial.rmdir()


def remove_leftovers(states: Path, keep: int) -> None:
    """Clears halves of states that a kill left, and states beyond those to be kept."""
    for partial in states.glob("*.partial"):
        shutil.rmtree(partial)
    drop_old_states(states, keep)


def _as_json(options: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(options)))


def _defaults(options: RunOptions) -> dict[str, Any]:
    """Of the settings that have one."""
    fields = dataclasses.fields(options)
    plain = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    made = {field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING}
    return plain | {name: _as_json(make()) for name, make in made.items()}


def _filled(saved: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A run of before a setting was there went by the setting's default."""
    known = {name: _filled(value, defaults.get(name, {})) for name, value in saved.items() if isinstance(value, dict)}
    return defaults | saved | known


def _check_same(saved: dict[str, Any], given: dict[str, Any], path: Path) -> None:
    for name in sorted(saved.keys() | given.keys()):
        if name not in MAY_CHANGE and saved.get(name) != given.get(name):
            raise ValueError(
                f"--resume: {path} says {name} = {saved.get(name)!r} but {given.get(name)!r} was given; "
                "give the run's own value, or start a new run in another folder"
            )


class RunStates:
    """`model` and `optimizer` are the bare ones, as before `accelerator.prepare`."""

    def __init__(
        self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator, *, keep: int
    ):
        self.states = folder / "states"
        self.model, self.optimizer, self.accelerator, self.keep = model, optimizer, accelerator, keep

    def go_back(self, log: TrainLog) -> Position:
        """To the last state, if there is one; drops what was logged after it."""
        position = Position()
        state = latest_state(self.states)
        if state is not None:
            position = load_state(state, self.model, self.optimizer, rank=self.accelerator.process_index)
        if self.accelerator.is_main_process:
            remove_leftovers(self.states, self.keep)
            log.rewind(position.step)
        self.accelerator.wait_for_everyone()
        return position

    def save(self, position: Position) -> None:
        folder = state_folder(self.states, position.step)
        save_random_state(folder, self.accelerator.process_index)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            save_state(folder, self.model, self.optimizer, position)
            remove_leftovers(self.states, self.keep)
        self.accelerator.wait_for_everyone()
