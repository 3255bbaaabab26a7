"""All figures of one set of predictions, with 95 % intervals over patients, and differences between two sets.

Findings of written reports are read by a labeler that the caller gives, so that this needs no model.
CIDEr's document frequencies are fixed from the references scored: resamples draw from its per-study scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bootstrap import NUM_RESAMPLES, Estimate, interval, point_values, resample
from eval.clinical import (
    AVERAGES,
    confusion_counts,
    convention_name,
    macro_note,
    mean_of_defined,
    resampled_auroc,
    scores_from_counts,
)
from eval.normalization import DEFAULT_NORMALIZATION, normalize_report
from eval.overlap import ROUGE_NAME, bleu, bleu_from_statistics, cider, rouge_l
from eval.predictions import Prediction
from vlm.findings import FINDINGS, UNLABELED

LabelReport = Callable[[str], Sequence[int]]

METRICS = {
    "macro_f1": "macro-F1 (14)",
    "micro_f1": "micro-F1 (14)",
    "macro_f1_5": "macro-F1 (5)",
    "micro_f1_5": "micro-F1 (5)",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "macro_auroc": "macro AUROC (probabilities)",
    "cider": "CIDEr",
    "rouge_l": ROUGE_NAME,
    "bleu_4": "BLEU-4",
    "bleu_3": "BLEU-3",
    "bleu_2": "BLEU-2",
    "bleu_1": "BLEU-1",
}
"""What is scored, most telling first: FIELD.md says why BLEU comes last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingEstimates:
    """One finding: `support` positive references, `num_predicted` reports that name it."""

    finding: str
    support: int
    num_predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auroc: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Figures of one system. `metrics` by the keys of METRICS, `other_convention` the F1 averages with uncertain
    counted the other way; `samples` [resamples] by metric; `per_study` NaN where a study has no reference."""

    name: str
    study_ids: tuple[str, ...]
    num_with_reference: int
    num_with_labels: int
    num_empty_reports: int
    num_distinct_reports: int
    num_distinct_references: int
    metrics: dict[str, Estimate]
    other_convention: dict[str, Estimate]
    per_finding: tuple[FindingEstimates, ...]
    samples: dict[str, np.ndarray]
    per_study: dict[str, np.ndarray]
    convention: str
    other_convention_name: str
    normalization: str
    notes: tuple[str, ...]

    @property
    def distinct_ratio(self) -> float:
        """Different reports for each study; compare with the references' own."""
        return self.num_distinct_reports / len(self.study_ids)

    @property
    def reference_distinct_ratio(self) -> float | None:
        return self.num_distinct_references / self.num_with_reference if self.num_with_reference else None


def score_predictions(
    predictions: Sequence[Prediction],
    label_report: LabelReport,
    *,
    name: str = "model",
    uncertain_is_positive: bool = True,
    normalization: str = DEFAULT_NORMALIZATION,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Scores a system's predictions; a study without reference report or labels is left out of what needs it.

    Raises:
        ValueError: there are no predictions.
    """
    if not predictions:
        raise ValueError(f"{name}: 0 predictions to score; give at least one study")
    reports = [normalize_report(prediction.report, normalization) for prediction in predictions]
    references = [normalize_report(prediction.reference, normalization) for prediction in predictions]
    has_reference = np.array([bool(reference) for reference in references])
    labels = np.array([prediction.reference_labels for prediction in predictions])
    predicted_labels = _label_all([prediction.report for prediction in predictions], label_report)
    has_probabilities = all(prediction.probabilities is not None for prediction in predictions)
    probabilities = np.array([prediction.probabilities for prediction in predictions]) if has_probabilities else None

    scored = np.flatnonzero(has_reference)
    text_pair = [reports[study] for study in scored], [references[study] for study in scored], "none"
    bleu_score = bleu(*text_pair) if len(scored) else None
    mean_scores = {"cider": cider(*text_pair), "rouge_l": rouge_l(*text_pair)} if len(scored) else {}
    counts = confusion_counts(predicted_labels, labels, uncertain_is_positive)
    other_counts = confusion_counts(predicted_labels, labels, not uncertain_is_positive)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        values = scores_from_counts(_weighted_sums(weights, counts))
        other = scores_from_counts(_weighted_sums(weights, other_counts))
        values |= {f"other {average}": other[average] for average in AVERAGES}
        if probabilities is not None:
            values["auroc"] = resampled_auroc(probabilities, labels, weights, uncertain_is_positive)
            values["macro_auroc"] = mean_of_defined(values["auroc"])
        if bleu_score is not None:
            text_weights = weights[:, has_reference]
            num_drawn = text_weights.sum(axis=1)
            # A resample that drew no study with a reference says nothing about the text.
            with_text = np.where(num_drawn > 0, num_drawn, np.nan)
            bleus = bleu_from_statistics(text_weights @ bleu_score.statistics) * (with_text / with_text)[:, None]
            values |= {f"bleu_{order + 1}": bleus[:, order] for order in range(4)}
            values |= {metric: text_weights @ mean.per_study / with_text for metric, mean in mean_scores.items()}
        return values

    # A study without a subject stands for itself.
    subject_ids = [prediction.subject_id or f"study {prediction.study_id}" for prediction in predictions]
    values = point_values(statistic, len(predictions))
    samples = resample(statistic, subject_ids, num_resamples, seed)
    estimates = {metric: interval(values[metric], samples[metric]) for metric in values if values[metric].ndim == 0}
    undefined = Estimate(value=None, low=None, high=None)
    totals = counts.sum(axis=0)
    notes = [macro_note(totals[:, 0] + totals[:, 2] > 0, "a positive reference")]
    if len(scored) < len(predictions):
        notes.append(f"text scored over {len(scored)} of {len(predictions)} studies, those with a reference report")
    per_study = {"bleu_4": bleu_score.per_study[:, 3]} if bleu_score is not None else {}
    per_study |= {metric: mean.per_study for metric, mean in mean_scores.items()}
    return Scores(
        name=name,
        study_ids=tuple(prediction.study_id for prediction in predictions),
        num_with_reference=len(scored),
        num_with_labels=int((labels != UNLABELED).any(axis=1).sum()),
        num_empty_reports=sum(not report for report in reports),
        num_distinct_reports=len(set(reports)),
        num_distinct_references=len({references[study] for study in scored}),
        metrics={metric: estimates.get(metric, undefined) for metric in METRICS},
        other_convention={average: estimates[f"other {average}"] for average in AVERAGES},
        per_finding=tuple(
            FindingEstimates(
                finding=finding,
                support=int(totals[index, 0] + totals[index, 2]),
                num_predicted=int(totals[index, 0] + totals[index, 1]),
                **{
                    score: interval(values[score][index], samples[score][:, index]) if score in values else undefined
                    for score in ("precision", "recall", "f1", "auroc")
                },
            )
            for index, finding in enumerate(FINDINGS)
        ),
        samples={metric: samples[metric] for metric in METRICS if metric in samples},
        per_study={metric: _spread(column, has_reference) for metric, column in per_study.items()},
        convention=convention_name(uncertain_is_positive),
        other_convention_name=convention_name(not uncertain_is_positive),
        normalization=normalization,
        notes=tuple(notes),
    )


def paired_difference(first: Scores, second: Scores, metric: str) -> Estimate:
    """The first system's value minus the second's, on the same studies and resamples.

    Raises:
        ValueError: the two were not scored on the same studies in the same order.
    """
    if first.study_ids != second.study_ids:
        raise ValueError(
            f"{first.name} ({len(first.study_ids)} studies) and {second.name} ({len(second.study_ids)}) "
            "were not scored on the same studies; score both on the studies they share"
        )
    values = first.metrics[metric].value, second.metrics[metric].value
    if None in values:
        return Estimate(value=None, low=None, high=None)
    return interval(np.float64(values[0] - values[1]), first.samples[metric] - second.samples[metric])


def _label_all(reports: list[str], label_report: LabelReport) -> np.ndarray:
    labels_of = {report: tuple(label_report(report)) for report in dict.fromkeys(reports)}
    return np.array([labels_of[report] for report in reports])


def _weighted_sums(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = weights @ counts.reshape(len(counts), -1)
    return sums.reshape(len(weights), *counts.shape[1:])


def _spread(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Values of the studies that have one, NaN for the others."""
    column = np.full(len(where), np.nan)
    column[where] = values
    return column
