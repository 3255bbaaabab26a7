"""The training loops of fine-tuning and pretraining: epochs of planned steps, validation, saved states, the best kept.

Fine-tuning has stages, each with its own learning-rate schedule: findings alone, text alone, then both.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from train.loop.step import (
    build_optimizer,
    learning_rate_factor,
    loss_sums,
    on_device,
    optimizer_step,
    set_learning_rate,
    time_step,
    training_step,
)
from train.loop.validation import FindingPredictions, Validation, calibrate, validate
from train.options import FinetuneOptions, PretrainOptions
from train.run.folder import RunStates, TrainLog, write_whole
from train.run.progress import RunProgress, peak_memory_gib
from train.run.state import Position
from train.studies.dataset import Collator, StudyDataset, plan_epoch
from vlm.checkpoint.store import Checkpoint, save_checkpoint
from vlm.model import ReportModel


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
        self.states = RunStates(folder, pretrainee.model, optimizer, accelerator, keep=options.save_total_limit)
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
                max_grad_norm=options.max_grad_norm,
            )
            self.position = replace(
                self.position, step=self.position.step + 1, epoch=epoch, epoch_step=self.position.epoch_step + 1
            )
            progress.step(epoch=epoch, loss=loss, num_done=int(num_samples))
            if board is not None:
                rate = self.optimizer.param_groups[0]["lr"]
                self.log.write(step=self.position.step, epoch=epoch, loss=loss, learning_rate=rate)
                board.add_scalar("train/loss", loss, self.position.step)
            if self.position.step % options.save_steps == 0:
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


class Stage(Enum):
    """What an epoch teaches; the value is its name for people."""

    FINDINGS = "findings alone"
    LANGUAGE = "language alone"
    REPORTS = "reports"


def stage_epochs(options: FinetuneOptions) -> dict[Stage, range]:
    """The epochs of each stage, in their order; stages without epochs are left out."""
    findings, language = options.findings_epochs, options.findings_epochs + options.text_only_epochs
    stages = {
        Stage.FINDINGS: range(findings),
        Stage.LANGUAGE: range(findings, language),
        Stage.REPORTS: range(language, options.num_epochs),
    }
    return {stage: epochs for stage, epochs in stages.items() if epochs}


def stage_of(epoch: int, options: FinetuneOptions) -> Stage:
    """The stage that an epoch belongs to."""
    return next(stage for stage, epochs in stage_epochs(options).items() if epoch in epochs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainee:
    """What is trained and on what."""

    model: ReportModel
    training: StudyDataset
    validation: StudyDataset
    collator: Collator
    lengths: list[int]
    """Of the training reports, in characters: studies of like length share a batch."""


class Trainer:
    """One run: the model, its optimiser, and where it stands."""

    def __init__(self, options: FinetuneOptions, trainee: Trainee, accelerator: Accelerator, folder: Path):
        self.options, self.trainee, self.accelerator, self.folder = options, trainee, accelerator, folder
        optimizer = build_optimizer(
            trainee.model,
            learning_rate=options.learning_rate,
            encoder_learning_rate=options.encoder_learning_rate,
            weight_decay=options.weight_decay,
        )
        self.model, self.optimizer = accelerator.prepare(trainee.model, optimizer)
        self.epoch_steps = [len(self._plan(epoch)) for epoch in range(options.num_epochs)]
        if not all(self.epoch_steps):
            raise ValueError(
                "--text-only-epochs or --freeze-after-findings leave nothing to learn: no training study has a report"
            )
        self.num_steps = sum(self.epoch_steps)
        self.position = Position()
        self.states = RunStates(folder, trainee.model, optimizer, accelerator, keep=options.save_total_limit)
        self.log = TrainLog(folder)

    def resume(self) -> None:
        """Goes back to the last state, if there is one, and drops what was logged after it."""
        self.position = self.states.go_back(self.log)

    def estimate(self) -> tuple[float, float]:
        """Seconds that the remaining steps take, without validation, and memory in GiB.

        From forward and backward passes of each stage to come, by a copy of the model: they leave no trace in weights
        or statistics, and DDP, which counts backward passes, does not see them.
        """
        model = copy.deepcopy(self.trainee.model).train()
        seconds = 0.0
        with torch.random.fork_rng():
            for epochs in stage_epochs(self.options).values():
                steps = sum(self.epoch_steps[epoch] for epoch in epochs if epoch >= self.position.epoch)
                if steps:
                    plan = self._plan(epochs.stop - 1)
                    self._enter(epochs.stop - 1)
                    trainee = self.trainee
                    batches = [
                        trainee.collator([trainee.training[number] for number in batch])
                        for batch in plan[len(plan) // 2]
                    ]
                    seconds += steps * time_step(model, batches, self.accelerator, loss_sums)
        return seconds, peak_memory_gib(self.accelerator.device)

    def run(self) -> None:
        """Trains from where the run stands to its end."""
        options, accelerator = self.options, self.accelerator
        board = SummaryWriter(str(self.folder / "tensorboard")) if accelerator.is_main_process else None
        with RunProgress(
            num_steps=self.num_steps, done=self.position.step, enabled=accelerator.is_main_process
        ) as progress:
            for epoch in range(self.position.epoch, options.num_epochs):
                self._train_epoch(epoch, progress, board)
                validation, findings = self._validate(epoch)
                is_best = validation.rank > self.position.best or self.position.best_epoch < 0
                if is_best:
                    self.position = replace(self.position, best=validation.rank, best_epoch=epoch)
                if accelerator.is_main_process:
                    if is_best:
                        self._save_best(findings)
                    progress.validated(epoch, validation.in_words, is_best=is_best)
                    self._log_validation(epoch, validation, board)
                self.position = replace(self.position, epoch=epoch + 1, epoch_step=0)
                self.states.save(self.position)
        if board is not None:
            board.close()

    def _train_epoch(self, epoch: int, progress: RunProgress, board: SummaryWriter | None) -> None:
        options = self.options
        plan = self._plan(epoch)[self.position.epoch_step :]
        self._enter(epoch)
        if self._is_frozen(epoch):
            self.trainee.model.freeze_image_encoder()
        self.model.train()
        loader = iter(self._loader([batch for step in plan for batch in step]))
        for step in plan:
            set_learning_rate(self.optimizer.optimizer, self._learning_rate_factor(epoch))
            losses = training_step(
                self.model,
                self.optimizer,
                [next(loader) for _ in step],
                self.accelerator,
                finding_weight=options.finding_weight,
                box_weight=options.box_weight,
                max_grad_norm=options.max_grad_norm,
            )
            self.position = replace(
                self.position, step=self.position.step + 1, epoch=epoch, epoch_step=self.position.epoch_step + 1
            )
            progress.step(epoch=epoch, loss=losses.loss, num_done=losses.num_studies)
            if board is not None:
                self.log.write(
                    step=self.position.step,
                    epoch=epoch,
                    loss=losses.loss,
                    report_loss=losses.report_loss,
                    finding_loss=losses.finding_loss,
                    box_loss=losses.box_loss,
                    learning_rate=self.optimizer.param_groups[0]["lr"],
                )
                board.add_scalar("train/loss", losses.loss, self.position.step)
                board.add_scalar("train/report_loss", losses.report_loss, self.position.step)
                board.add_scalar("train/finding_loss", losses.finding_loss, self.position.step)
                board.add_scalar("train/box_loss", losses.box_loss, self.position.step)
            if self.position.step % options.save_steps == 0:
                self.states.save(self.position)

    def _validate(self, epoch: int) -> tuple[Validation, FindingPredictions]:
        self.trainee.validation.with_reports = stage_of(epoch, self.options) is not Stage.FINDINGS
        return validate(
            self.trainee.model,
            self.trainee.validation,
            self.trainee.collator,
            self.accelerator,
            batch_size=2 * self.options.batch_size,
            num_reports=self.options.num_validation_reports,
            max_new_tokens=self.options.max_new_tokens,
        )

    def _log_validation(self, epoch: int, validation: Validation, board: SummaryWriter) -> None:
        figures = {
            name: getattr(validation, name)
            for name in ("report_macro_f1", "report_cider", "finding_macro_auroc", "report_loss", "finding_loss")
        }
        self.log.write(step=self.position.step, epoch=epoch, validation=figures)
        for name, value in figures.items():
            if value is not None:
                board.add_scalar(f"validation/{name}", value, self.position.step)

    def _save_best(self, findings: FindingPredictions) -> None:
        model, stage = self.trainee.model, stage_of(self.position.best_epoch, self.options)
        learned = stage is not Stage.FINDINGS and any(self.trainee.lengths)
        model.config = replace(model.config, writes_reports=model.config.writes_reports or learned)
        checkpoint = Checkpoint(
            model=self.trainee.model,
            tokenizer=self.trainee.training.tokenizer,
            calibration=calibrate(findings.logits, findings.targets, findings.mask),
        )
        save_checkpoint(self.folder / "best", checkpoint)

    def _learning_rate_factor(self, epoch: int) -> float:
        """The schedule runs once over the epochs of each stage."""
        epochs = stage_epochs(self.options)[stage_of(epoch, self.options)]
        return learning_rate_factor(
            self.position.step - sum(self.epoch_steps[: epochs.start]),
            num_steps=sum(self.epoch_steps[epochs.start : epochs.stop]),
            warmup_fraction=self.options.warmup_fraction,
        )

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        return plan_epoch(
            self.trainee.lengths,
            seed=self.options.seed,
            epoch=epoch,
            batch_size=self.options.batch_size,
            num_batches=self.options.gradient_accumulation_steps,
            rank=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            only_reports=self._is_frozen(epoch) or stage_of(epoch, self.options) is Stage.LANGUAGE,
            group_by_length=stage_of(epoch, self.options) is not Stage.FINDINGS,
        )

    def _is_frozen(self, epoch: int) -> bool:
        return self.options.freeze_after_findings and epoch >= self.options.findings_epochs

    def _enter(self, epoch: int) -> None:
        self.trainee.training.epoch = epoch
        stage = stage_of(epoch, self.options)
        self.trainee.training.with_images = stage is not Stage.LANGUAGE
        self.trainee.training.with_reports = stage is not Stage.FINDINGS

    def _loader(self, batches: list[list[int]]) -> DataLoader:
        workers = self.options.num_workers
        return DataLoader(
            self.trainee.training,
            batch_sampler=batches,
            collate_fn=self.trainee.collator,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )
