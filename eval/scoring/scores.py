"""All figures of one set of predictions with 95 % intervals over patients, and differences between two sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.checks.temporal import STATES
from eval.metrics.bleu import bleu_from_statistics
from eval.metrics.bootstrap import NUM_RESAMPLES, Estimate, centered, interval, point_values, resample
from eval.metrics.chrf import CHRF_NAME
from eval.metrics.cider import PLAIN_CIDER_NAME
from eval.metrics.clinical import AVERAGES, convention_name, macro_note
from eval.metrics.errors import ERROR_KINDS
from eval.metrics.meteor import METEOR_NAME
from eval.metrics.normalization import DEFAULT_NORMALIZATION, ReferenceVocabulary
from eval.metrics.probabilities import DECISION_SCORES, PROBABILITY_SCORES
from eval.metrics.rouge import ROUGE_NAME, STEMMED_ROUGE_NAME
from eval.predictions.prediction import Prediction
from eval.scoring.statistics import (
    StudyStatistics,
    normalized_references,
    normalized_reports,
    statement_statistics,
    study_statistics,
    subjects_of,
)
from eval.scoring.words import MEAN_TEXT_SCORES, word_scorer
from vlm.schema.findings import FINDINGS, UNLABELED

METRICS = {
    "macro_f1": "macro-F1 (14)",
    "micro_f1": "micro-F1 (14)",
    "macro_f1_5": "macro-F1 (5)",
    "micro_f1_5": "micro-F1 (5)",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "micro_precision": "micro precision",
    "micro_recall": "micro recall",
    "macro_precision_5": "macro precision (5)",
    "macro_recall_5": "macro recall (5)",
    "micro_precision_5": "micro precision (5)",
    "micro_recall_5": "micro recall (5)",
    "state_agreement": "share of findings in the same state (of 4)",
    "state_kappa": "Cohen's kappa of the 4 states",
    "laterality_agreement": "laterality agreement (of stated findings with a left or right reference)",
    "laterality_reversal": "laterality reversal (of the same findings; lower is better)",
    "severity_agreement": "severity agreement (of findings whose severity report and reference name)",
    "severity_accuracy": "severity accuracy (classifier, findings with a known severity)",
    "temporal_f1": "temporal F1 (stated findings with their change since the prior study)",
    "macro_temporal_f1": "macro temporal F1 (mean over new, worse, unchanged, better, resolved)",
    "temporal_precision": "temporal precision",
    "temporal_recall": "temporal recall",
    "change_accuracy": "change accuracy (classifier, findings present in this or the prior study)",
    "macro_change_accuracy": "macro change accuracy (classifier, mean over the changes)",
    "error_score": "report error score (0 to 1; errors weighted by harm)",
    "error_harm": "harm of the errors per report (lower is better)",
    "macro_auroc": "macro AUROC (probabilities)",
    "macro_average_precision": "macro average precision (probabilities)",
    "macro_brier": "macro Brier score (probabilities; lower is better)",
    "macro_calibration_error": "macro calibration error (probabilities; lower is better)",
    "pooled_calibration_error": "expected calibration error (all probabilities pooled; lower is better)",
    "micro_accuracy": "accuracy (classifier decisions, all findings pooled)",
    "macro_balanced_accuracy": "macro balanced accuracy (classifier decisions)",
    "macro_sensitivity": "macro sensitivity (classifier decisions)",
    "macro_specificity": "macro specificity (classifier decisions)",
    "cider": "CIDEr",
    "plain_cider": PLAIN_CIDER_NAME,
    "rouge_l": ROUGE_NAME,
    "stemmed_rouge_l": STEMMED_ROUGE_NAME,
    "meteor": METEOR_NAME,
    "chrf": CHRF_NAME,
    "bleu_4": "BLEU-4",
    "bleu_3": "BLEU-3",
    "bleu_2": "BLEU-2",
    "bleu_1": "BLEU-1",
}
"""The metrics, most informative first: n-gram overlap comes last because a constant report scores high. "CIDEr" is
pycocoevalcap's, which is CIDEr-D."""

RESAMPLED_TOO_HIGH = frozenset({"calibration_error", "macro_calibration_error", "pooled_calibration_error"})
"""Resamples contain studies twice, which looks like worse calibration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Figures of one system.

    `metrics` by the keys of METRICS; `per_finding`: finding, support (positive references), num_predicted (reports that
    state it) and estimates; `changes`: by state of STATES, () if no reference states a change and the classifier has
    none: support (in references), num_stated (in reports), precision, recall, f1, and of the classifier num_known and
    accuracy; `errors`: kind, num_errors and rate (per report; an estimate), () without a reference;
    `other_convention`: F1 averages under the other convention for uncertain; `samples`
    [resamples] by metric; `per_study`: NaN for a study without a reference.
    """

    name: str
    study_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    num_with_reference: int
    num_with_labels: int
    num_empty_reports: int
    num_distinct_reports: int
    num_distinct_references: int
    metrics: dict[str, Estimate]
    other_convention: dict[str, Estimate]
    per_finding: tuple[dict[str, Any], ...]
    per_finding_other_convention: tuple[dict[str, Any], ...]
    changes: tuple[dict[str, Any], ...]
    errors: tuple[dict[str, Any], ...]
    samples: dict[str, np.ndarray]
    per_study: dict[str, np.ndarray]
    statistics: StudyStatistics
    convention: str
    other_convention_name: str
    normalization: str
    normalization_options: dict[str, str]
    notes: tuple[str, ...]

    @property
    def distinct_ratio(self) -> float:
        """Distinct reports per study; compare with `reference_distinct_ratio`."""
        return self.num_distinct_reports / len(self.study_ids)

    @property
    def reference_distinct_ratio(self) -> float | None:
        return self.num_distinct_references / self.num_with_reference if self.num_with_reference else None


def score_predictions(predictions: Sequence[Prediction], *, name: str = "model", **scoring: Any) -> Scores:
    """Score the predictions of one system; `scoring`: see `score_systems`."""
    return score_systems({name: predictions}, **scoring)[name]


def score_systems(
    systems: Mapping[str, Sequence[Prediction]],
    *,
    uncertain_is_positive: bool = True,
    normalization: str = DEFAULT_NORMALIZATION,
    reference_vocabulary: ReferenceVocabulary | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    second_process: bool = False,
) -> dict[str, Scores]:
    """Score the predictions of systems for the same studies in the same order. Studies without a report or labels are
    left out of the figures that need them.

    `second_process`: words of many studies are scored in a second process. The program that calls this must be
    importable (`if __name__ == "__main__":`), as for every process that is spawned.

    Raises:
        ValueError: a system has no predictions, or another number of them.
    """
    numbers = {name: len(predictions) for name, predictions in systems.items()}
    if not all(numbers.values()):
        raise ValueError(f"{min(numbers, key=numbers.get)}: 0 predictions to score; give at least one study")
    if len(set(numbers.values())) > 1:
        raise ValueError(f"the systems have different numbers of predictions ({numbers}); give the same studies to all")
    options = {"num_resamples": num_resamples, "seed": seed, "normalization": normalization}
    options |= {"reference_vocabulary": reference_vocabulary, "uncertain_is_positive": uncertain_is_positive}
    references = normalized_references(next(iter(systems.values())), normalization, reference_vocabulary)
    reports = {name: normalized_reports(predictions, normalization) for name, predictions in systems.items()}
    with word_scorer(len(references) if second_process else 0) as score_words:
        words = {name: score_words(texts, references) for name, texts in reports.items()}
        statements = statement_statistics(systems, references, uncertain_is_positive)
        return {
            name: _score(name, predictions, reports[name], references, statements[name] | words.pop(name)(), **options)
            for name, predictions in systems.items()
        }


def _score(
    name: str,
    predictions: Sequence[Prediction],
    reports: Sequence[str],
    references: Sequence[str],
    additive: dict[str, np.ndarray],
    *,
    uncertain_is_positive: bool,
    normalization: str,
    reference_vocabulary: ReferenceVocabulary | None,
    num_resamples: int,
    seed: int,
) -> Scores:
    has_reference = np.array([bool(reference) for reference in references])
    statistics = study_statistics(predictions, additive, uncertain_is_positive=uncertain_is_positive)
    subject_ids = subjects_of(predictions)
    values = point_values(statistics.figures, len(predictions))
    samples = resample(statistics.figures, subject_ids, num_resamples, seed)
    for score in RESAMPLED_TOO_HIGH & samples.keys():
        samples[score] = centered(samples[score], values[score])
    known = {metric: interval(values[metric], samples[metric]) for metric in values if values[metric].ndim == 0}
    return Scores(
        name=name,
        study_ids=tuple(prediction.study_id for prediction in predictions),
        subject_ids=subject_ids,
        num_with_reference=int(has_reference.sum()),
        num_with_labels=int((statistics.labels != UNLABELED).any(axis=1).sum()),
        num_empty_reports=sum(not report for report in reports),
        num_distinct_reports=len(set(reports)),
        num_distinct_references=len(set(references) - {""}),
        metrics={metric: known.get(metric, UNDEFINED) for metric in METRICS},
        other_convention={average: known[f"other {average}"] for average in AVERAGES},
        per_finding=_per_finding(statistics, values, samples, SCORES_OF_A_FINDING),
        per_finding_other_convention=_per_finding(statistics, values, samples, REPORT_SCORES, "other "),
        changes=_changes_by_state(statistics, values, samples),
        errors=_errors_by_kind(statistics, values, samples),
        samples={metric: samples[metric] for metric in METRICS if metric in samples},
        per_study=_per_study(statistics, has_reference),
        statistics=statistics,
        convention=convention_name(uncertain_is_positive),
        other_convention_name=convention_name(not uncertain_is_positive),
        normalization=normalization,
        normalization_options={} if reference_vocabulary is None else {"references": reference_vocabulary.description},
        notes=tuple(_notes(statistics, subject_ids, has_reference)),
    )


UNDEFINED = Estimate(value=None, low=None, high=None)
REPORT_SCORES = ("precision", "recall", "f1")
SCORES_OF_A_FINDING = (*REPORT_SCORES, *PROBABILITY_SCORES, *DECISION_SCORES)
FEW_SUBJECTS = 20
"""Percentile intervals are too narrow below this number of subjects."""


def _per_finding(
    statistics: StudyStatistics, values, samples, scores: Sequence[str], prefix: str = ""
) -> tuple[dict[str, Any], ...]:
    totals = statistics.additive[f"{prefix}findings"].sum(axis=0).astype(int).tolist()

    def estimate(key: str, index: int) -> Estimate:
        return interval(values[key][index], samples[key][:, index]) if key in values else UNDEFINED

    return tuple(
        {"finding": finding, "support": true + missed, "num_predicted": true + false}
        | {score: estimate(f"{prefix}{score}", index) for score in scores}
        for index, (finding, (true, false, missed)) in enumerate(zip(FINDINGS, totals, strict=True))
    )


def _changes_by_state(statistics: StudyStatistics, values, samples) -> tuple[dict[str, Any], ...]:
    totals = statistics.additive["stated changes"].sum(axis=0).astype(int)
    decisions = statistics.additive.get("change decisions", np.zeros((1, len(STATES), 2))).sum(axis=0).astype(int)
    if not totals[:, [0, 2]].any() and not decisions.any():
        return ()

    def estimate(score: str, index: int) -> Estimate:
        key = f"state {score}"
        return interval(values[key][index], samples[key][:, index]) if key in values else UNDEFINED

    return tuple(
        {"state": state, "support": true + missed, "num_stated": true + false, "num_known": int(known)}
        | {score: estimate(score, index) for score in (*REPORT_SCORES, "accuracy")}
        for index, (state, (true, false, missed), (known, _)) in enumerate(
            zip(STATES, totals.tolist(), decisions, strict=True)
        )
    )


def _errors_by_kind(statistics: StudyStatistics, values, samples) -> tuple[dict[str, Any], ...]:
    name = "errors by kind"
    if name not in values:
        return ()
    totals = statistics.additive[name].sum(axis=0).astype(int).tolist()
    return tuple(
        {"kind": kind, "num_errors": total, "rate": interval(values[name][index], samples[name][:, index])}
        for index, (kind, total) in enumerate(zip(ERROR_KINDS, totals, strict=True))
    )


def _per_study(statistics: StudyStatistics, has_reference: np.ndarray) -> dict[str, np.ndarray]:
    """Scores per study; NaN without a reference report."""
    if not has_reference.any():
        return {}
    columns = {"bleu_4": bleu_from_statistics(statistics.additive["bleu"])[:, 3]}
    columns |= {score: statistics.additive[score] for score in (*MEAN_TEXT_SCORES, "error_score")}
    return {score: np.where(has_reference, column, np.nan) for score, column in columns.items()}


def _notes(statistics: StudyStatistics, subject_ids: Sequence[str], has_reference: np.ndarray) -> list[str]:
    totals = statistics.additive["findings"].sum(axis=0)
    notes = [macro_note(totals[:, 0] + totals[:, 2] > 0, "a positive reference")]
    if not has_reference.all():
        notes.append(
            f"text scores use {has_reference.sum()} of {len(has_reference)} studies, those with a reference report"
        )
    if has_reference.any() and np.isnan(statistics.additive["cider"]).any():
        notes.append(
            "CIDEr is not defined: it weights words by how few of the references have them, so at least two different "
            "references are needed"
        )
    num_subjects = len(set(subject_ids))
    if num_subjects == 1:
        notes.append("all studies are of one patient, so there are no intervals")
    elif num_subjects < FEW_SUBJECTS:
        notes.append(f"only {num_subjects} patients: the intervals are too narrow and the figures are unreliable")
    return notes


def paired_difference(first: Scores, second: Scores, metric: str) -> Estimate:
    """The value of the first system minus that of the second, on the same studies and resamples.

    Raises:
        ValueError: the systems were not scored on the same studies in the same order.
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
