"""Validation: metrics of the findings and of generated reports, and the calibration of the classifier.

The temperature minimizes the log loss over all labeled findings (Guo et al. 2017). The threshold of a finding has the
highest F1 on the validation studies, as a mean over their sources: else easy images of a large source choose for all.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from data.reports.labeler.labeler import label_report
from eval.metrics.cider import cider
from eval.metrics.clinical import confusion_counts, defined, scores_from_counts
from eval.metrics.probabilities import macro_auroc
from train.loop.selection import same_report_macro_f1
from train.loop.step import on_device, report_counts
from train.run.state import ValidationResult
from train.studies.dataset import Collator, StudyDataset
from train.studies.stream import Rows
from vlm.decoding import GenerationOptions, generate_reports
from vlm.model import ReportModel
from vlm.operating_point import RocCurve, roc_curve
from vlm.schema.findings import NUM_FINDINGS, UNKNOWN_CHANGE, UNLABELED, UNNAMED_SEVERITY
from vlm.schema.report_format import report_of
from vlm.uncertainty import Calibration

MIN_POSITIVES = 5
"""A finding with fewer positive studies gets the threshold 0.5."""
MIN_POSITIVES_OF_SOURCE = 3
"""With fewer, a source has no part in a threshold. From 3 on, its F1 counts as much as that of a large source: else a
finding that is rare in real X-rays gets a threshold from drawings alone (docs/LOG.md)."""
TITLES = {
    "report_macro_f1": "macro-F1 of reports",
    "report_cider": "CIDEr",
    "finding_macro_auroc": "AUROC of findings",
    "severity_accuracy": "accuracy of severities",
    "change_accuracy": "accuracy of changes",
    "change_macro_f1": "macro-F1 of changes",
    "report_loss": "loss per token",
}
"""The metrics that are shown after each epoch."""


def calibrate(
    logits: Float[Tensor, "studies findings"],
    targets: Float[Tensor, "studies findings"],
    mask: Bool[Tensor, "studies findings"],
    *,
    decides_reports: bool = False,
    sources: Sequence[str] = (),
    temperature: float | None = None,
) -> Calibration:
    """Fit the calibration on validation studies; without labels the temperature is 1 and all thresholds are 0.5.

    `sources` names the source of each study; by default they are all of one. A given `temperature` is not fitted.
    """
    if not mask.any():
        return Calibration(num_labeled=(0,) * NUM_FINDINGS)
    temperature = temperature or _temperature(logits[mask].double(), targets[mask].double())
    probabilities = (logits.double() / temperature).sigmoid().numpy()
    sources = np.array(sources or [""] * len(probabilities))
    thresholds = [
        best_threshold(probabilities[labeled, finding], targets[labeled, finding].numpy() == 1, sources[labeled])
        for finding, labeled in enumerate(mask.T.numpy())
    ]
    return Calibration(
        temperature=temperature,
        thresholds=tuple(thresholds),
        curves=finding_curves(probabilities, targets.numpy() == 1, mask.numpy()),
        decides_reports=decides_reports,
        num_studies=int(mask.any(dim=1).sum()),
        num_labeled=tuple(mask.sum(dim=0).tolist()),
    )


def finding_curves(
    probabilities: Float[np.ndarray, "studies findings"],
    positive: Bool[np.ndarray, "studies findings"],
    labeled: Bool[np.ndarray, "studies findings"],
) -> tuple[RocCurve, ...]:
    """The ROC curve of each finding on its labeled studies."""
    columns = zip(probabilities.T, positive.T, labeled.T, strict=True)
    return tuple(roc_curve(probability[known], present[known]) for probability, present, known in columns)


def _temperature(logits: Tensor, targets: Tensor) -> float:
    """Repeated grid search over log T. The log loss is convex in 1 / T, so it has one minimum."""
    low, high = -3.0, 3.0
    for _ in range(6):
        grid = torch.linspace(low, high, 21, dtype=torch.float64)
        losses = [functional.binary_cross_entropy_with_logits(logits / t.exp(), targets) for t in grid]
        best = int(torch.stack(losses).argmin())
        low, high = float(grid[max(0, best - 1)]), float(grid[min(20, best + 1)])
    return float(np.exp((low + high) / 2))


def best_threshold(probabilities: np.ndarray, positive: np.ndarray, sources: np.ndarray) -> float:
    """The threshold with the highest F1, halfway between two distinct probabilities. A study is predicted positive if
    its probability is at least the threshold.

    F1 is the mean over the sources with at least MIN_POSITIVES_OF_SOURCE positive studies. To each of them, the studies
    of the sources without a positive study are added, so that their false positives count.
    """
    if positive.sum() < MIN_POSITIVES or positive.all():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked, positive, sources = probabilities[order], positive[order], sources[order]
    numbers = {source: positive[sources == source].sum() for source in np.unique(sources)}
    shared = np.isin(sources, [source for source, number in numbers.items() if number == 0])
    groups = [shared | (sources == source) for source, number in numbers.items() if number >= MIN_POSITIVES_OF_SOURCE]
    f1 = np.mean([_ranked_f1(positive, group) for group in groups or [np.ones_like(positive)]], axis=0)
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold separates equal probabilities
    best = int(f1.argmax())
    below = np.append(ranked[1:], 0.0)
    return float(np.clip((ranked[best] + below[best]) / 2, 0.001, 0.999))


def _ranked_f1(positive: np.ndarray, group: np.ndarray) -> np.ndarray:
    """F1 of the studies of the group if the first, the first two, … of all studies are predicted positive."""
    true_positives = np.cumsum(positive & group)
    return 2 * true_positives / (np.cumsum(group) + true_positives[-1])


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
    finding_weight: float,
    change_weight: float,
    decides_reports: bool = False,
) -> tuple[ValidationResult, Calibration]:
    """Evaluate the classifier on all studies and generated reports on the first `num_reports`; the processes share the
    work. Also return the calibration that these studies give, which the reports use with `decides_reports`."""
    model.eval()
    own = range(len(studies))[accelerator.process_index :: accelerator.num_processes]
    gathered: dict[str, list] = {
        name: [] for name in ("order", "logits", "targets", "mask", "severity_is_right", "changes")
    }
    losses = np.zeros(6)
    batches = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    for numbers in batches:
        batch = on_device(collator([studies[number] for number in numbers]), accelerator)
        batch.pop("decided_findings", None)  # the labels are not known when reports are written
        with accelerator.autocast():
            output = model(**batch)
        num_tokens, num_labels, _, _, num_changes, _ = report_counts(batch)
        sums = (output.report_loss_sum, output.finding_loss_sum, output.change_loss_sum)
        losses += [*map(float, sums), *map(float, (num_tokens, num_labels, num_changes))]
        gathered["order"] += [*numbers]
        gathered["logits"] += output.finding_logits.float().cpu().tolist()
        gathered["targets"] += batch["finding_targets"].cpu().tolist()
        gathered["mask"] += batch["finding_mask"].cpu().tolist()
        gathered["severity_is_right"] += _severity_is_right(output.severity_logits, batch["severity_targets"])
        gathered["changes"] += _changes(output.change_logits, batch.get("change_targets"))
    gathered = {key: gather_object(values) for key, values in gathered.items()}
    losses = np.sum(gather_object([losses]), axis=0)
    order = np.argsort(gathered["order"])
    logits, targets, mask = (torch.tensor(gathered[key])[order] for key in ("logits", "targets", "mask"))
    sources = studies.rows["source"][: len(studies)]
    calibration = calibrate(logits, targets, mask, decides_reports=decides_reports, sources=sources)
    reports = {}
    if studies.with_reports:
        shown = [[number for number in numbers if number < num_reports] for numbers in batches]
        options = GenerationOptions(max_new_tokens=max_new_tokens)
        reports = _reports(model, studies, collator, accelerator, shown, options, calibration)
    labels = torch.where(mask, targets.long(), UNLABELED).numpy()
    probabilities = logits.sigmoid().numpy()
    report_loss, finding_loss, change_loss = (
        loss / number if number else None for loss, number in zip(losses[:3], losses[3:], strict=True)
    )
    metrics = {
        "report_macro_f1": None,
        "report_cider": None,
        "finding_macro_auroc": macro_auroc(probabilities, labels) if mask.any() else None,
        "severity_accuracy": float(np.mean(right)) if (right := gathered["severity_is_right"]) else None,
        "report_loss": report_loss,
        "finding_loss": finding_loss,
    } | _change_scores(gathered["changes"])
    result = ValidationResult(
        metrics=metrics,
        loss=(report_loss or 0.0) + finding_weight * (finding_loss or 0.0) + change_weight * (change_loss or 0.0),
        studies={"probabilities": probabilities, "labels": labels},
    )
    if reports:
        result = _with_report_scores(result, studies.rows, reports)
    return replace(result, summary=_summary(result.metrics, reports)), calibration


def _severity_is_right(logits: Tensor | None, targets: Tensor) -> list[bool]:
    """Whether the most probable severity is right, for each finding with a named one; empty without an estimate."""
    if logits is None:
        return []
    return (logits.argmax(dim=-1) == targets)[targets > UNNAMED_SEVERITY].tolist()


def _changes(logits: Tensor | None, targets: Tensor | None) -> list[tuple[int, int]]:
    """For each finding with a known change, the change and the most probable one; empty without an estimate."""
    if logits is None or targets is None:
        return []
    known = targets != UNKNOWN_CHANGE
    return list(zip(targets[known].tolist(), logits.argmax(dim=-1)[known].tolist(), strict=True))


def _change_scores(changes: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Accuracy over the findings that are present in one of the two studies, and macro-F1 over the states of all
    findings with a known change. Empty if no finding is present in one."""
    true, estimated = np.array(changes, dtype=int).reshape(-1, 2).T
    if not true.any():
        return {}
    hits = true == estimated
    f1 = [
        2 * (hits & (true == state)).sum() / ((true == state).sum() + (estimated == state).sum())
        for state in np.unique(true)
    ]
    return {"change_accuracy": float(hits[true > 0].mean()), "change_macro_f1": float(np.mean(f1))}


def _reports(
    model: ReportModel,
    studies: StudyDataset,
    collator: Collator,
    accelerator: Accelerator,
    batches: Sequence[Sequence[int]],
    options: GenerationOptions,
    calibration: Calibration,
) -> dict[int, str]:
    """By number, a generated report for each of these studies that has a reference report."""
    decisions = calibration.decision_logits
    decisions = None if decisions is None else torch.tensor(decisions, device=accelerator.device)
    reports = []
    for numbers in batches:
        samples = {number: studies[number] for number in numbers}
        samples = {number: sample for number, sample in samples.items() if len(sample["report_ids"]) > 1}
        if not samples:
            continue
        batch = on_device(collator([*samples.values()]), accelerator)
        image = "patch_features" if "patch_features" in batch else "pixel_values"
        names = [image, "view_indices", "view_mask", "prompt_ids", "prompt_mask"]
        names += [name for name in batch if name.startswith("prior_")]
        with accelerator.autocast():
            prefix = model.prefix(**{name: batch[name] for name in names}, decision_logits=decisions)
            special = {name: getattr(studies.tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
            generated = generate_reports(model, prefix, **special, options=options)
        texts = [studies.tokenizer.decode(report.token_ids) for report in generated]
        reports += zip(samples, texts, strict=True)
    return dict(sorted(gather_object(reports)))


def _with_report_scores(result: ValidationResult, rows: Rows, reports: dict[int, str]) -> ValidationResult:
    """Add the scores of reports, by the number of the study; uncertain findings count as positive."""
    columns = rows.select_columns(["findings", "impression", "labels"])
    references = [columns[number] for number in reports]
    labels = np.array([row["labels"] for row in references])
    counts = confusion_counts([label_report(report) for report in reports.values()], labels)
    macro_f1 = defined(scores_from_counts(counts.sum(axis=0))["macro_f1"])
    ciders = cider([*reports.values()], list(map(report_of, references)))
    return replace(
        result,
        metrics=result.metrics | {"report_macro_f1": macro_f1, "report_cider": ciders.score},
        studies=result.studies | {"number": np.array(list(reports)), "counts": counts, "cider": ciders.per_study},
        same_report_macro_f1=same_report_macro_f1(labels),
    )


def _summary(metrics: dict[str, float | None], reports: dict[int, str]) -> str:
    shown = [f"{title} {metrics[name]:.3f}" for name, title in TITLES.items() if metrics.get(name) is not None]
    if reports:
        shown.append(f"{len(set(reports.values()))} distinct reports out of {len(reports)}")
    return ", ".join(shown)
