"""The training tasks: a report model in fine-tuning, and one half of it in pretraining.

Fine-tuning has up to three stages: findings only, text only, then both.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from train.loop.step import Losses, on_device, report_losses
from train.loop.validation import validate
from train.options import FinetuneOptions
from train.pretraining.options import PretrainOptions
from train.run.folder import write_files
from train.run.state import ValidationResult
from train.studies.dataset import Collator, StudyDataset
from train.studies.stream import ParquetRows
from vlm.checkpoint.store import Checkpoint, save_checkpoint
from vlm.model import ReportModel
from vlm.uncertainty import Calibration


class Stage(Enum):
    """What is trained in an epoch. The value is its name in the summary and on the model card."""

    FINDINGS = "findings only"
    TEXT = "text only"
    REPORTS = "reports"


def stage_epochs(options: FinetuneOptions) -> dict[Stage, range]:
    """The epochs of each stage, in order, without stages that have none."""
    findings = options.stages.findings_epochs
    text = findings + options.stages.text_only_epochs
    stages = {
        Stage.FINDINGS: range(findings),
        Stage.TEXT: range(findings, text),
        Stage.REPORTS: range(text, options.num_epochs),
    }
    return {stage: epochs for stage, epochs in stages.items() if epochs}


def describe_stages(options: FinetuneOptions) -> str:
    return ", ".join(f"{len(epochs)} of {stage.value}" for stage, epochs in stage_epochs(options).items())


def stage_of(epoch: int, options: FinetuneOptions) -> Stage:
    return next(stage for stage, epochs in stage_epochs(options).items() if epoch in epochs)


class ReportTask:
    """Fine-tuning of a report model."""

    unit: ClassVar[str] = "studies"

    def __init__(
        self,
        options: FinetuneOptions,
        model: ReportModel,
        training: StudyDataset,
        validation: StudyDataset,
        collator: Collator,
        lengths: Sequence[int],
    ):
        """`lengths`: characters of the training reports. Studies with similar lengths share a batch."""
        self.options, self.model, self.training, self.validation = options, model, training, validation
        self.collate, self.lengths = collator, lengths
        self.stream = training.rows if isinstance(training.rows, ParquetRows) else None
        weights = ("finding_weight", "box_weight", "severity_weight", "change_weight")
        self.losses = report_losses(**{name: getattr(options.losses, name) for name in weights})
        self.stages = list(stage_epochs(options).values())
        self.subject_ids = validation.rows["subject_id"][:]
        self.calibration = Calibration()

    def selection(self, epoch: int) -> dict[str, Any]:
        stage = stage_of(epoch, self.options)
        only_reports = self._is_frozen(epoch) or stage is Stage.TEXT
        if only_reports and not any(self.lengths):
            raise ValueError(
                "--text-only-epochs or --freeze-after-findings leave nothing to learn: no training study has a report"
            )
        return {
            "only_reports": only_reports,
            "group_by_length": stage is not Stage.FINDINGS,
            "stream": self.stream,
        }

    def start_epoch(self, epoch: int, model: nn.Module) -> None:
        stage = stage_of(epoch, self.options)
        self.training.epoch = epoch
        self.training.with_images = stage is not Stage.TEXT
        self.training.with_reports = stage is not Stage.FINDINGS
        if self._is_frozen(epoch):
            model.freeze_image_encoder()

    def validate(self, epoch: int, accelerator: Accelerator) -> ValidationResult:
        writes_reports = epoch >= 0 or self.model.config.writes_reports
        self.validation.with_reports = writes_reports and stage_of(max(epoch, 0), self.options) is not Stage.FINDINGS
        result, self.calibration = validate(
            self.model,
            self.validation,
            self.collate,
            accelerator,
            batch_size=2 * self.options.optimization.batch_size,
            num_reports=self.options.validation.num_validation_reports,
            max_new_tokens=self.options.validation.max_new_tokens,
            finding_weight=self.options.losses.finding_weight,
            change_weight=self.options.losses.change_weight,
            decides_reports=self.options.stages.decide_findings,
        )
        return result

    def save_best(self, epoch: int, folder: Path) -> None:
        trained = epoch >= 0 and stage_of(epoch, self.options) is not Stage.FINDINGS
        learned_reports = trained and any(self.lengths)
        self.model.config = replace(
            self.model.config, writes_reports=self.model.config.writes_reports or learned_reports
        )
        checkpoint = Checkpoint(model=self.model, tokenizer=self.training.tokenizer, calibration=self.calibration)
        save_checkpoint(folder / "best", checkpoint)

    def _is_frozen(self, epoch: int) -> bool:
        stages = self.options.stages
        return stages.freeze_after_findings and epoch >= stages.findings_epochs


class PretrainTask:
    """Pretraining of a model that returns the sum of its only loss."""

    subject_ids: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        options: PretrainOptions,
        model: nn.Module,
        training: Dataset,
        validation: Dataset,
        *,
        count: Callable[[dict[str, Tensor]], Any],
        save: Callable[[Path], None],
        unit: str,
        lengths: Sequence[int] | None = None,
    ):
        """`count`: number of items in the loss of a batch. `save` writes the weights to a folder. `lengths`: length of
        each training sample, if samples of similar lengths should share a batch."""
        self.options, self.model, self.training, self.validation = options, model, training, validation
        self.collate, self.count, self.save, self.unit = training.collate, count, save, unit
        self.lengths = lengths or [1] * len(training)
        self.losses = Losses(
            weights={"loss": 1.0},
            sums=lambda output: [output],
            counts=lambda batch: (count(batch), len(next(iter(batch.values())))),
        )
        self.stages = [range(options.num_epochs)]

    def selection(self, epoch: int) -> dict[str, bool]:
        return {"group_by_length": len(set(self.lengths)) > 1}

    def start_epoch(self, epoch: int, model: nn.Module) -> None:
        self.training.epoch = epoch

    @torch.inference_mode()
    def validate(self, epoch: int, accelerator: Accelerator) -> ValidationResult:
        samples, batch_size = self.validation, self.options.optimization.batch_size
        self.model.eval()
        own = range(len(samples))[accelerator.process_index :: accelerator.num_processes]
        totals = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(own), batch_size):
            batch = self.collate([samples[number] for number in own[start : start + batch_size]])
            with accelerator.autocast():
                loss = self.model(**on_device(batch, accelerator))
            totals += torch.tensor([float(loss), float(self.count(batch))], dtype=torch.float64)
        loss_sum, count = accelerator.reduce(totals.to(accelerator.device)).tolist()
        loss = loss_sum / count
        return ValidationResult(metrics={"loss": loss}, loss=loss, summary=f"loss {loss:.4f}")

    def save_best(self, epoch: int, folder: Path) -> None:
        write_files(folder, self.save)
