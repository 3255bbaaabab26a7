"""The states of a run on disk: saved by all its processes together, and gone back to after a kill."""

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from train.run_folder import TrainLog, remove_leftovers
from train.state import Position, latest_state, load_state, save_random_state, save_state, state_folder


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
