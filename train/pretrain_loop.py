"""The loop of pretraining: one loss, a validation after each epoch, states on the way, the best weights kept."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from train.batches import plan_epoch
from train.pretrain_options import PretrainOptions
from train.progress import RunProgress, peak_memory_gib
from train.run_folder import TrainLog, write_whole
from train.run_states import RunStates
from train.schedule import build_optimizer, learning_rate_factor, set_learning_rate
from train.state import Position
from train.step import on_device, optimizer_step, time_step


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrainee:
    """What is trained and on what."""

    model: nn.Module
    """Called with a batch it returns the sum of its loss."""
    training: Dataset
    """With the `epoch` that its samples are drawn for, and `collate`."""
    validation: Dataset
    lengths: list[int] | None
    """Of the training samples, where those of like length share a batch."""
    count: Callable[[dict[str, Tensor]], Any]
    """How many the loss of a batch is summed over."""
    save: Callable[[Path], None]
    """Writes the weights."""
    unit: str
    """Samples, in the plural."""


class Pretrainer:
    """One run: the model, its optimiser, and where it stands."""

    def __init__(self, options: PretrainOptions, pretrainee: Pretrainee, accelerator: Accelerator, folder: Path):
        self.options, self.pretrainee, self.accelerator, self.folder = options, pretrainee, accelerator, folder
        optimizer = build_optimizer(
            pretrainee.model,
            learning_rate=options.learning_rate,
            encoder_learning_rate=None,
            weight_decay=options.weight_decay,
        )
        self.model, self.optimizer = accelerator.prepare(pretrainee.model, optimizer)
        self.num_epoch_steps = len(self._plan(0))
        self.num_steps = options.num_epochs * self.num_epoch_steps
        self.position = Position()
        self.states = RunStates(folder, pretrainee.model, optimizer, accelerator, keep=options.keep_states)
        self.log = TrainLog(folder)

    def resume(self) -> None:
        """Goes back to the last state, if there is one."""
        self.position = self.states.go_back(self.log)

    def estimate(self) -> tuple[float, float]:
        """Seconds that the remaining steps take, without validation, and memory in GiB: from steps of a copy."""
        model = copy.deepcopy(self.pretrainee.model).train()
        plan = self._plan(self.options.num_epochs - 1)
        with torch.random.fork_rng():
            batches = [
                self._collate([self.pretrainee.training[number] for number in batch]) for batch in plan[len(plan) // 2]
            ]
            seconds = time_step(model, batches, self.accelerator, _loss_sums)
        return (self.num_steps - self.position.step) * seconds, peak_memory_gib(self.accelerator.device)

    def run(self) -> None:
        """Trains from where the run stands to its end."""
        is_main = self.accelerator.is_main_process
        board = SummaryWriter(str(self.folder / "tensorboard")) if is_main else None
        with RunProgress(
            num_steps=self.num_steps, done=self.position.step, enabled=is_main, unit=self.pretrainee.unit
        ) as progress:
            for epoch in range(self.position.epoch, self.options.num_epochs):
                self._train_epoch(epoch, progress, board)
                loss = self._validate()
                is_best = self.position.best_epoch < 0 or -loss > self.position.best[0]
                if is_best:
                    self.position = replace(self.position, best=(-loss,), best_epoch=epoch)
                if board is not None:
                    if is_best:
                        write_whole(self.folder, self.pretrainee.save)
                    progress.validated(epoch, f"loss {loss:.4f}", is_best=is_best)
                    self.log.write(step=self.position.step, epoch=epoch, validation={"loss": loss})
                    board.add_scalar("validation/loss", loss, self.position.step)
                self.position = replace(self.position, epoch=epoch + 1, epoch_step=0)
                self.states.save(self.position)
        if board is not None:
            board.close()

    def _train_epoch(self, epoch: int, progress: RunProgress, board: SummaryWriter | None) -> None:
        options = self.options
        plan = self._plan(epoch)[self.position.epoch_step :]
        self.pretrainee.training.epoch = epoch
        self.model.train()
        loader = iter(self._loader([batch for step in plan for batch in step]))
        for step in plan:
            factor = learning_rate_factor(
                self.position.step, num_steps=self.num_steps, warmup_fraction=options.warmup_fraction
            )
            set_learning_rate(self.optimizer.optimizer, factor)
            loss, _, (_, num_samples) = optimizer_step(
                self.model,
                self.optimizer,
                [next(loader) for _ in step],
                self.accelerator,
                count=lambda batch: (self.pretrainee.count(batch), len(next(iter(batch.values())))),
                loss_sums=_loss_sums,
                weights=(1.0,),
                max_gradient_norm=options.max_gradient_norm,
            )
            self.position = replace(
                self.position, step=self.position.step + 1, epoch=epoch, epoch_step=self.position.epoch_step + 1
            )
            progress.step(epoch=epoch, loss=loss, num_done=int(num_samples))
            if board is not None:
                rate = self.optimizer.param_groups[0]["lr"]
                self.log.write(step=self.position.step, epoch=epoch, loss=loss, learning_rate=rate)
                board.add_scalar("train/loss", loss, self.position.step)
            if self.position.step % options.state_every == 0:
                self.states.save(self.position)

    @torch.inference_mode()
    def _validate(self) -> float:
        """The mean loss over all validation samples; the work is shared by processes."""
        samples, accelerator = self.pretrainee.validation, self.accelerator
        self.model.eval()
        mine = range(len(samples))[accelerator.process_index :: accelerator.num_processes]
        totals = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(mine), self.options.batch_size):
            batch = self._collate([samples[number] for number in mine[start : start + self.options.batch_size]])
            with accelerator.autocast():
                loss = self.pretrainee.model(**on_device(batch, accelerator))
            totals += torch.tensor([float(loss), float(self.pretrainee.count(batch))], dtype=torch.float64)
        loss, count = accelerator.reduce(totals.to(accelerator.device)).tolist()
        return loss / count

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        return plan_epoch(
            self.pretrainee.lengths or [1] * len(self.pretrainee.training),
            seed=self.options.seed,
            epoch=epoch,
            batch_size=self.options.batch_size,
            num_batches=self.options.gradient_accumulation_steps,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            group_by_length=self.pretrainee.lengths is not None,
        )

    def _collate(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        return self.pretrainee.training.collate(samples)

    def _loader(self, batches: list[list[int]]) -> DataLoader:
        workers = self.options.num_workers
        return DataLoader(
            self.pretrainee.training,
            batch_sampler=batches,
            collate_fn=self.pretrainee.training.collate,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )


def _loss_sums(output: Tensor) -> list[Tensor]:
    return [output]
