"""How good the model is on validation studies: probabilities of the findings, and reports it writes itself.

Temperature and thresholds of the classifier, chosen on validation studies.

The temperature minimises the log loss over all labelled findings (Guo et al. 2017); a finding's threshold is the
probability at which its F1 on validation is highest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from data.reports.labeler.labeler import label_report
from eval.metrics.cider import cider
from eval.metrics.clinical import f1_scores
from eval.metrics.probabilities import auroc
from train.studies.dataset import Collator, StudyDataset
from vlm.decoding import GenerationOptions, generate_reports
from vlm.model import ReportModel
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.report_format import compose_report
from vlm.uncertainty import Calibration

MIN_POSITIVES = 5
"""With fewer positive studies a finding keeps the threshold 0.5."""


def calibrate(
    logits: Float[Tensor, "studies findings"],
    targets: Float[Tensor, "studies findings"],
    mask: Bool[Tensor, "studies findings"],
) -> Calibration:
    """The calibration for these validation studies; without any labelled finding the neutral one."""
    if not mask.any():
        return Calibration(num_labelled=(0,) * NUM_FINDINGS)
    temperature = _temperature(logits[mask].double(), targets[mask].double())
    probabilities = (logits.double() / temperature).sigmoid().numpy()
    thresholds = [
        _best_threshold(probabilities[labelled, finding], targets[labelled, finding].numpy() == 1)
        for finding, labelled in ((finding, mask[:, finding].numpy()) for finding in range(NUM_FINDINGS))
    ]
    return Calibration(
        temperature=temperature,
        thresholds=tuple(thresholds),
        num_studies=int(mask.any(dim=1).sum()),
        num_labelled=tuple(mask.sum(dim=0).tolist()),
    )


def _temperature(logits: Tensor, targets: Tensor) -> float:
    """The log loss is convex in 1 / T, so a golden grid over log T narrows in on its one minimum."""
    low, high = -3.0, 3.0
    for _ in range(6):
        grid = torch.linspace(low, high, 21, dtype=torch.float64)
        losses = [functional.binary_cross_entropy_with_logits(logits / t.exp(), targets) for t in grid]
        best = int(torch.stack(losses).argmin())
        low, high = float(grid[max(0, best - 1)]), float(grid[min(20, best + 1)])
    return float(np.exp((low + high) / 2))


def _best_threshold(probabilities: np.ndarray, positive: np.ndarray) -> float:
    if positive.sum() < MIN_POSITIVES or positive.all():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    true_positives = np.cumsum(positive[order])
    f1 = 2 * true_positives / (np.arange(1, len(order) + 1) + positive.sum())
    best = int(f1.argmax())
    below = probabilities[order[best + 1]] if best + 1 < len(order) else 0.0
    return float(np.clip((probabilities[order[best]] + below) / 2, 0.001, 0.999))


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Figures of one epoch; None where the data has nothing to compute them from."""

    report_macro_f1: float | None
    """Of the findings named in the written reports, uncertain counted as positive."""
    report_cider: float | None
    finding_macro_auroc: float | None
    report_loss: float | None
    """Cross-entropy a token of the true reports."""
    finding_loss: float | None
    num_distinct_reports: int
    num_reports: int

    @property
    def rank(self) -> tuple[float, ...]:
        """The better of two validations has the larger rank: macro-F1, then CIDEr, then AUROC, then the losses."""
        up = [self.report_macro_f1, self.report_cider, self.finding_macro_auroc]
        down = [self.finding_loss, self.report_loss]
        return tuple(-1.0 if value is None else value for value in up) + tuple(
            0.0 if value is None else -value for value in down
        )

    @property
    def in_words(self) -> str:
        figures = {
            "macro-F1 of reports": self.report_macro_f1,
            "CIDEr": self.report_cider,
            "AUROC of findings": self.finding_macro_auroc,
            "loss a token": self.report_loss,
        }
        text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
        distinct = f", {self.num_distinct_reports} distinct of {self.num_reports} reports"
        return text + (distinct if self.num_reports else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingPredictions:
    """Logits of validation studies beside their targets: what calibration is chosen on."""

    logits: Tensor
    targets: Tensor
    mask: Tensor


@torch.inference_mode()
def validate(
    model: ReportModel,
    studies: StudyDataset,
    collator: Collator,
    accelerator: Accelerator,
    *,
    batch_size: int,
    num_reports: int,
    max_new_tokens: int,
) -> tuple[Validation, FindingPredictions]:
    """Judges the model on all studies, and its reports on the first `num_reports`; the work is shared by processes."""
    model.eval()
    mine = range(len(studies))[accelerator.process_index :: accelerator.num_processes]
    rows = studies.rows
    gathered: dict[str, list] = {"order": [], "logits": [], "targets": [], "mask": [], "reports": []}
    losses = np.zeros(4)
    for numbers in _chunks(mine, batch_size):
        batch = {key: value.to(accelerator.device) for key, value in collator([studies[n] for n in numbers]).items()}
        with accelerator.autocast():
            output = model(**batch)
            written = _write(model, studies, batch, numbers, num_reports, max_new_tokens)
        losses += [
            float(value)
            for value in (output.report_loss_sum, output.num_tokens, output.finding_loss_sum, output.num_labels)
        ]
        gathered["order"] += numbers
        gathered["logits"] += output.finding_logits.float().cpu().tolist()
        gathered["targets"] += batch["finding_targets"].cpu().tolist()
        gathered["mask"] += batch["finding_mask"].cpu().tolist()
        gathered["reports"] += written
    gathered = {key: gather_object(values) for key, values in gathered.items()}
    losses = np.sum(gather_object([losses]), axis=0)
    order = np.argsort(gathered["order"])
    logits, targets, mask = (torch.tensor(gathered[key])[order] for key in ("logits", "targets", "mask"))
    reports = [gathered["reports"][index] for index in order]
    scored = [number for number, report in enumerate(reports) if report is not None]
    validation = Validation(
        **_report_scores(rows, scored, [reports[number] for number in scored]),
        finding_macro_auroc=_macro_auroc(logits, targets, mask),
        report_loss=losses[0] / losses[1] if losses[1] else None,
        finding_loss=losses[2] / losses[3] if losses[3] else None,
    )
    return validation, FindingPredictions(logits=logits, targets=targets, mask=mask)


def _write(
    model: ReportModel, studies: StudyDataset, batch: dict, numbers: list[int], num_reports: int, max_new_tokens: int
) -> list[str | None]:
    """A written report for each of the first `num_reports` studies that has a true one to hold it against."""
    wanted = [
        place
        for place, number in enumerate(numbers)
        if number < num_reports and batch["attention_mask"][place].sum() > 1
    ]
    written: list[str | None] = [None] * len(numbers)
    if wanted and studies.with_reports:
        names = ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")
        tokens = generate_reports(
            model,
            model.prefix(**{name: batch[name][wanted] for name in names}),
            bos_token_id=studies.tokenizer.bos_token_id,
            eos_token_id=studies.tokenizer.eos_token_id,
            options=GenerationOptions(max_new_tokens=max_new_tokens),
        )
        for place, report in zip(wanted, tokens, strict=True):
            written[place] = studies.tokenizer.decode(report.token_ids)
    return written


def _report_scores(rows: datasets.Dataset, scored: list[int], reports: list[str]) -> dict:
    if not reports:
        return {"report_macro_f1": None, "report_cider": None, "num_distinct_reports": 0, "num_reports": 0}
    columns = rows.select_columns(["findings", "impression", "labels"]).select(scored)
    references = [compose_report(findings=row["findings"], impression=row["impression"]) for row in columns]
    scores = f1_scores([label_report(report) for report in reports], columns["labels"][:])
    return {
        "report_macro_f1": scores.macro_f1,
        "report_cider": cider(reports, references).score,
        "num_distinct_reports": len(set(reports)),
        "num_reports": len(reports),
    }


def _macro_auroc(logits: Tensor, targets: Tensor, mask: Tensor) -> float | None:
    if not mask.any():
        return None
    labels = torch.where(mask, targets.long(), torch.full_like(targets, -100).long())
    return auroc(logits.sigmoid().numpy(), labels.numpy()).macro


def _chunks(numbers: Iterable[int], size: int) -> Iterable[list[int]]:
    numbers = list(numbers)
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
