"""The training loop of fine-tuning and pretraining: epochs of optimizer steps, validation, saved states, best weights.

What differs between the programs is a `TrainingTask` (train/loop/tasks.py).
"""

import copy
import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from train.loop.selection import is_better
from train.loop.step import (
    Losses,
    build_optimizer,
    is_bf16_fast,
    learning_rate_factor,
    set_learning_rate,
    time_step,
    training_step,
)
from train.options import TrainingOptions
from train.run.folder import TrainLog
from train.run.progress import RunProgress, peak_memory_gib
from train.run.shard import gather, match_batches, shard
from train.run.state import Progress, RunStates, ValidationResult
from train.studies.dataset import plan_epoch


class TrainingTask(Protocol):
    """What is trained, on which data and with which losses."""

    unit: ClassVar[str]
    """Name of the samples, in the plural."""
    model: nn.Module
    training: Dataset
    collate: Callable[[Sequence[Any]], dict[str, Tensor]]
    """Combines samples to a batch. Worker processes get a copy, so it must not hold the model."""
    losses: Losses
    stages: Sequence[range]
    """The epochs of each stage. Each stage has its own learning-rate schedule."""
    subject_ids: Sequence[str]
    """The patient of each validation study; empty if epochs are only compared by their loss."""

    lengths: Sequence[int]
    """Length of each training sample."""

    def selection(self, epoch: int) -> dict[str, Any]:
        """`only_reports`, `group_by_length` and `stream` of `plan_epoch` for this epoch."""

    def start_epoch(self, epoch: int, model: nn.Module) -> None:
        """Prepare the training data and the model for an epoch."""

    def validate(self, epoch: int, accelerator: Accelerator) -> ValidationResult:
        """Evaluate the model on all validation samples; the processes share the work. Epoch -1: before training."""

    def save_best(self, epoch: int, folder: Path) -> None:
        """Save the weights of the best epoch so far; called by the main process after `validate`."""


class Trainer:
    """One run: model, optimizer and progress. `is_divided`: divide the model, a ReportModel, among the processes."""

    def __init__(
        self, options: TrainingOptions, task: TrainingTask, accelerator: Accelerator, *, is_divided: bool = False
    ):
        self.options, self.task, self.accelerator, self.is_divided = options, task, accelerator, is_divided
        self.folder = Path(options.output_dir)
        if is_divided:
            shard(task.model, accelerator.device)
        optimizer = build_optimizer(
            task.model,
            learning_rate=options.optimization.learning_rate,
            encoder_learning_rate=getattr(options.optimization, "encoder_learning_rate", None),
            weight_decay=options.optimization.weight_decay,
        )
        self.model = accelerator.prepare_model(task.model, evaluation_mode=is_divided)  # True: without DDP
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.epoch_steps = [len(self._plan(epoch)) for epoch in range(options.num_epochs)]
        self.num_steps = sum(self.epoch_steps)
        self.progress = Progress()
        self.validations: dict[str, ValidationResult] = {}
        """`start`: before training; `best`: of the best epoch so far."""
        self.states = RunStates(self.folder, task.model, optimizer, accelerator, keep=options.run.save_total_limit)
        self.log = TrainLog(self.folder)

    def resume(self) -> None:
        """Continue from the last saved state, if there is one, and remove later lines from the log."""
        self.progress, self.validations = self.states.resume()
        if self.accelerator.is_main_process:
            self.log.rewind(self.progress.step, self.progress.epoch if self.validations else -1)
        self.accelerator.wait_for_everyone()

    def not_improved(self) -> str:
        """A warning if no epoch is better than the weights before training; "" if one is."""
        if is_better(self.validations["best"], self.validations["start"], self.task.subject_ids):
            return ""
        return (
            "No epoch is better than epoch 0, the weights before training, by the rule that chooses the best epoch. If "
            "you started from a trained model, compare both on the test split before you replace it."
        )

    def summary(self) -> dict[str, str]:
        """Steps, device, and the estimated time and memory of the run."""
        precision = {"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision)
        if precision == "bf16" and self.accelerator.device.type == "cpu" and not is_bf16_fast():
            precision = "bf16, which is slow on this processor: --precision fp32 takes less time"
        summary = {
            "steps": f"{self.num_steps - self.progress.step:,} of {self.num_steps:,} in "
            f"{self.options.num_epochs} epochs",
            "device": f"{self.accelerator.device}, {self.accelerator.num_processes} process(es), "
            + ("model divided among them, " if self.is_divided else "")
            + f"precision {precision}",
        }
        if self.is_divided:  # one process cannot compute alone
            return summary
        seconds, memory = self._estimate()
        return summary | {
            "estimated time": str(datetime.timedelta(seconds=round(seconds))) + " plus validation",
            "estimated memory": f"{memory:.1f} GiB per process",
        }

    def _estimate(self) -> tuple[float, float]:
        """Seconds of the remaining steps without validation, and memory in GiB.

        The time is measured on a copy of the model: weights and statistics do not change, and DDP, which counts
        backward passes, is not involved.
        """
        model = copy.deepcopy(self.task.model).train()
        seconds = 0.0
        with torch.random.fork_rng():
            for stage in self.task.stages:
                end = sum(self.epoch_steps[: stage.stop])
                num_steps = min(end - self.progress.step, sum(self.epoch_steps[stage.start : stage.stop]))
                if num_steps > 0:
                    self.task.start_epoch(stage.stop - 1, model)
                    plan = self._plan(stage.stop - 1)
                    batches = [
                        self.task.collate([self.task.training[number] for number in batch])
                        for batch in plan[len(plan) // 2]
                    ]
                    seconds += num_steps * time_step(model.train(), batches, self.accelerator, self.task.losses)
        return seconds, peak_memory_gib(self.accelerator.device)

    def run(self) -> None:
        """Train to the end of the last epoch."""
        is_main = self.accelerator.is_main_process
        board = SummaryWriter(str(self.folder / "tensorboard")) if is_main else None
        with RunProgress(
            num_steps=self.num_steps, done=self.progress.step, enabled=is_main, unit=self.task.unit
        ) as progress_bar:
            if not self.validations:
                self._validate(-1, progress_bar, board)
            for epoch in range(self.progress.epoch, self.options.num_epochs):
                if self._has_stalled(epoch):
                    progress_bar.stopped_early(epoch, self.options.run.early_stopping)
                    break
                self._train_epoch(epoch, progress_bar, board)
                self._validate(epoch, progress_bar, board)
        if board is not None:
            board.close()

    def _validate(self, epoch: int, progress_bar: RunProgress, board: SummaryWriter | None) -> None:
        """Validate after an epoch, -1 before training; save the weights if they are the best, and the state. The
        weights before training are never the best."""
        trained = self.task.model
        if self.is_divided:  # generation takes a different number of steps in each process
            self.task.model = gather(trained, self.accelerator.device)
        result = self.task.validate(epoch, self.accelerator)
        is_best = epoch >= 0 and is_better(result, self.validations.get("best"), self.task.subject_ids)
        if epoch < 0:
            self.validations["start"] = result
        elif is_best:
            self.validations["best"] = result
            self.progress = replace(self.progress, best_epoch=epoch)
        if board is not None:
            if is_best:
                self.task.save_best(epoch, self.folder)
            progress_bar.validated(epoch, result.summary, is_best=is_best)
            same_report = result.same_report_macro_f1
            extra = {} if same_report is None else {"same_report_macro_f1": same_report}
            self.log.write(step=self.progress.step, epoch=epoch, validation=result.metrics, **extra)
            self._plot(board, "validation", result.metrics)
        self.task.model = trained
        self.progress = replace(self.progress, epoch=epoch + 1, epoch_step=0)
        self.states.save(self.progress, self.validations)

    def _has_stalled(self, epoch: int) -> bool:
        """Whether --early-stopping ends the run before this epoch: only epochs of the last stage count."""
        patience, last = self.options.run.early_stopping, self.task.stages[-1]
        return patience > 0 and epoch - max(self.progress.best_epoch + 1, last.start) >= patience

    def _train_epoch(self, epoch: int, progress_bar: RunProgress, board: SummaryWriter | None) -> None:
        plan = self._plan(epoch)[self.progress.epoch_step :]
        self.task.start_epoch(epoch, self.task.model)
        self.model.train()
        # The loader draws a random number when an epoch starts. A run that resumes within an epoch must not draw again.
        with torch.random.fork_rng(enabled=self.progress.epoch_step > 0):
            loader = iter(self._loader([batch for step in plan for batch in step]))
        for step in plan:
            batches = [next(loader) for _ in step]
            set_learning_rate(self.optimizer.optimizer, self._learning_rate_factor(epoch))
            losses = training_step(
                self.model,
                self.optimizer,
                match_batches(batches, self.accelerator) if self.is_divided else batches,
                self.accelerator,
                self.task.losses,
                max_grad_norm=self.options.optimization.max_grad_norm,
            )
            self.progress = replace(
                self.progress, step=self.progress.step + 1, epoch=epoch, epoch_step=self.progress.epoch_step + 1
            )
            progress_bar.step(epoch=epoch, loss=losses.loss, num_done=losses.num_samples)
            if board is not None:
                metrics = {"loss": losses.loss} | losses.means
                rate = self.optimizer.param_groups[0]["lr"]
                self.log.write(step=self.progress.step, epoch=epoch, **metrics, learning_rate=rate)
                self._plot(board, "train", metrics)
            if self.progress.step % self.options.run.save_steps == 0:
                self.states.save(self.progress, self.validations)

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        """For each optimizer step of the epoch, the batches (lists of sample numbers) of this process."""
        return plan_epoch(
            self.task.lengths,
            seed=self.options.run.seed,
            epoch=epoch,
            batch_size=self.options.optimization.batch_size,
            num_batches=self.options.optimization.gradient_accumulation_steps,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            **self.task.selection(epoch),
        )

    def _plot(self, board: SummaryWriter, group: str, metrics: dict[str, float | None]) -> None:
        for name, value in metrics.items():
            if value is not None:
                board.add_scalar(f"{group}/{name}", value, self.progress.step)

    def _learning_rate_factor(self, epoch: int) -> float:
        stage = next(stage for stage in self.task.stages if epoch in stage)
        return learning_rate_factor(
            self.progress.step - sum(self.epoch_steps[: stage.start]),
            num_steps=sum(self.epoch_steps[stage.start : stage.stop]),
            warmup_fraction=self.options.optimization.warmup_fraction,
        )

    def _loader(self, batches: list[list[int]]) -> DataLoader:
        workers = self.options.run.num_workers
        return DataLoader(
            self.task.training,
            batch_sampler=batches,
            collate_fn=self.task.collate,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )
