"""Per-study statistics. Every figure is a function of how often each study is counted, so a bootstrap resample, a group
of studies, and a swap of two systems' outputs are the same operation with different weights.

Text scores and finding counts are sums over studies. Ranking and calibration scores are computed from the weights
directly. CIDEr's document frequencies come from all references and stay fixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.reports.labeler.labeler import label_report
from eval.checks.severity import severity_counts, severity_decision_counts
from eval.checks.temporal import change_decision_counts, change_scores, temporal_counts, temporal_scores
from eval.metrics.bleu import bleu_from_statistics
from eval.metrics.chrf import chrf_from_statistics
from eval.metrics.clinical import (
    confusion_counts,
    divide,
    mean_of_defined,
    scores_from_counts,
    state_agreement,
    state_counts,
)
from eval.metrics.errors import error_scores
from eval.metrics.laterality import laterality_counts, laterality_scores
from eval.metrics.normalization import ReferenceVocabulary, normalize_prediction, normalize_report
from eval.metrics.probabilities import (
    PROBABILITY_SCORES,
    decision_counts,
    decision_scores,
    pooled_calibration_error,
    probability_scores,
)
from eval.predictions.prediction import Prediction
from eval.scoring.words import MEAN_TEXT_SCORES, compact
from vlm.schema.findings import CHANGES, NUM_FINDINGS

SEVERITY_SCORES = ("severity_agreement", "severity_accuracy")
"""Shares of scored findings with the severity of the reference: in the report, and by the classifier."""
GROUP_METRICS = ("macro_f1", "micro_f1", "macro_auroc", "cider", "rouge_l", "bleu_4")
"""The figures of a group of studies."""
ERROR_SCORES = ("error_score", "error_harm")
"""Score and harm of the errors of a report, averaged over studies (`eval/metrics/errors.py`)."""
STUDIES_AT_ONCE = 2000
"""With up to a dozen systems, their reports are fewer than MAX_REPORTS_KEPT, which the readers remember."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudyStatistics:
    """`additive`: arrays [studies, …] by name, to be summed; `labels` and `probabilities` (or None): [studies, 14]."""

    additive: dict[str, np.ndarray]
    labels: np.ndarray
    probabilities: np.ndarray | None
    uncertain_is_positive: bool

    @property
    def num_studies(self) -> int:
        return len(self.labels)

    def take(self, studies: np.ndarray) -> "StudyStatistics":
        """Select studies by index or mask."""
        return StudyStatistics(
            additive={name: values[studies] for name, values in self.additive.items()},
            labels=self.labels[studies],
            probabilities=None if self.probabilities is None else self.probabilities[studies],
            uncertain_is_positive=self.uncertain_is_positive,
        )

    def followed_by(self, other: "StudyStatistics") -> "StudyStatistics":
        """Concatenate two sets of studies; statistics that only one of them has are left out."""
        shared = [name for name in self.additive if name in other.additive]
        both_have_probabilities = self.probabilities is not None and other.probabilities is not None
        return StudyStatistics(
            additive={name: np.concatenate([self.additive[name], other.additive[name]]) for name in shared},
            labels=np.concatenate([self.labels, other.labels]),
            probabilities=np.concatenate([self.probabilities, other.probabilities])
            if both_have_probabilities
            else None,
            uncertain_is_positive=self.uncertain_is_positive,
        )

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures [resamples, …] under weights [resamples, studies], by the keys of METRICS; NaN where undefined.

        Per finding [resamples, 14]: `precision`, `recall`, `f1`, PROBABILITY_SCORES and DECISION_SCORES. Scores of
        reports under the other convention for uncertain have the prefix "other "; those of changes by state
        [resamples, 5] have the prefix "state ".
        """
        sums = {name: self._sum(name, weights) for name in self.additive}
        figures = scores_from_counts(sums["findings"])
        figures |= {f"other {name}": value for name, value in scores_from_counts(sums["other findings"]).items()}
        figures |= state_agreement(sums["states"])
        figures |= laterality_scores(sums["laterality"])
        figures |= {score: divide(sums[score][:, 1], sums[score][:, 0]) for score in SEVERITY_SCORES if score in sums}
        figures |= temporal_scores(sums["stated changes"])
        if "change decisions" in sums:
            figures |= change_scores(sums["change decisions"])
        if self.probabilities is not None:
            known = self.probabilities, self.labels, weights, self.uncertain_is_positive
            per_finding = probability_scores(*known)
            figures |= per_finding
            figures |= {f"macro_{score}": mean_of_defined(per_finding[score]) for score in PROBABILITY_SCORES}
            figures["pooled_calibration_error"] = pooled_calibration_error(*known)
        if "decisions" in sums:
            figures |= decision_scores(sums["decisions"])
        if "bleu" in sums:
            num_with_text = sums["has text"]
            # Text scores are undefined in a resample without a reference report.
            defined = np.where(num_with_text > 0, 1.0, np.nan)[:, None]
            bleus = bleu_from_statistics(sums["bleu"]) * defined
            figures["chrf"] = chrf_from_statistics(sums["chrf"]) * defined[:, 0]
            figures |= {f"bleu_{order + 1}": bleus[:, order] for order in range(bleus.shape[1])}
            figures |= {score: divide(sums[score], num_with_text) for score in (*MEAN_TEXT_SCORES, *ERROR_SCORES)}
            figures["errors by kind"] = divide(sums["errors by kind"], num_with_text[:, None])
        return figures

    def group_figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The figures of GROUP_METRICS alone, which are computed in half of the time."""
        of_findings = scores_from_counts(self._sum("findings", weights))
        figures = {average: of_findings[average] for average in ("macro_f1", "micro_f1")}
        if self.probabilities is not None:
            known = self.probabilities, self.labels, weights, self.uncertain_is_positive
            figures["macro_auroc"] = mean_of_defined(probability_scores(*known, scores=("auroc",))["auroc"])
        if "bleu" in self.additive:
            num_with_text = self._sum("has text", weights)
            bleu_4 = bleu_from_statistics(self._sum("bleu", weights))[:, 3]
            figures["bleu_4"] = bleu_4 * np.where(num_with_text > 0, 1.0, np.nan)
            figures |= {score: divide(self._sum(score, weights), num_with_text) for score in ("cider", "rouge_l")}
        return figures

    def _sum(self, name: str, weights: np.ndarray) -> np.ndarray:
        values = self.additive[name]
        return (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])


def subjects_of(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """The subject of each study; a study without a subject id counts as its own subject."""
    return tuple(prediction.subject_id or f"study {prediction.study_id}" for prediction in predictions)


def normalized_reports(predictions: Sequence[Prediction], normalization: str) -> list[str]:
    """The words of the reports, see `normalize_prediction`."""
    return [normalize_prediction(prediction.report, normalization) for prediction in predictions]


def normalized_references(
    predictions: Sequence[Prediction], normalization: str, reference_vocabulary: ReferenceVocabulary | None = None
) -> list[str]:
    """The words of the references, in the vocabulary if one is given."""
    if reference_vocabulary is None:
        return [normalize_report(prediction.reference, normalization) for prediction in predictions]
    return [reference_vocabulary.apply(prediction.reference) for prediction in predictions]


def statement_statistics(
    systems: Mapping[str, Sequence[Prediction]], references: Sequence[str], uncertain_is_positive: bool
) -> dict[str, dict[str, np.ndarray]]:
    """`additive` statistics of what the reports of each system state, for the same studies in the same order. Errors
    skip studies without a normalized reference.

    Many metrics read a report, and all systems are compared with the same references. So some studies of all systems
    are read at a time, as many as the readers remember."""
    has_text = np.array([bool(reference) for reference in references])
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in systems}
    for start in range(0, len(references), STUDIES_AT_ONCE):
        part = slice(start, start + STUDIES_AT_ONCE)
        for name, predictions in systems.items():
            statistics = _statements(predictions[part], uncertain_is_positive)
            if has_text.any():
                statistics |= _errors(predictions[part], has_text[part])
            found[name].append(statistics)
    return {
        name: {key: compact(np.concatenate([part[key] for part in parts])) for key in parts[0]}
        for name, parts in found.items()
    }


def _statements(predictions: Sequence[Prediction], uncertain_is_positive: bool) -> dict[str, np.ndarray]:
    labels = _labels(predictions)
    texts = [prediction.report for prediction in predictions], [prediction.reference for prediction in predictions]
    report_labels = np.array([label_report(report) for report in texts[0]], dtype=np.int8)
    return {
        "findings": confusion_counts(report_labels, labels, uncertain_is_positive),
        "other findings": confusion_counts(report_labels, labels, not uncertain_is_positive),
        "states": state_counts(report_labels, labels),
        "laterality": laterality_counts(*texts),
        "severity_agreement": severity_counts(*texts),
        "stated changes": temporal_counts(*texts),
    }


def _errors(predictions: Sequence[Prediction], has_text: np.ndarray) -> dict[str, np.ndarray]:
    """0 for a study without a reference text."""
    scored = [prediction for prediction, has in zip(predictions, has_text, strict=True) if has]
    found = error_scores([one.report for one in scored], [one.reference for one in scored])
    errors = {"error_score": found.scores, "error_harm": found.harms, "errors by kind": found.counts}
    spread = {name: np.zeros((len(has_text), *values.shape[1:])) for name, values in errors.items()}
    for name, values in errors.items():
        spread[name][has_text] = values
    return spread | {"has text": has_text}


def study_statistics(
    predictions: Sequence[Prediction], additive: dict[str, np.ndarray], *, uncertain_is_positive: bool
) -> StudyStatistics:
    """All statistics of a system. `additive` has its `statement_statistics` and `word_statistics`; those of the
    classifier are added."""
    labels = _labels(predictions)
    decisions = {}
    probabilities = _stacked([prediction.probabilities for prediction in predictions])
    if probabilities is not None:
        thresholds = _stacked([prediction.thresholds for prediction in predictions])
        decisions["decisions"] = decision_counts(probabilities, labels, thresholds, uncertain_is_positive)
    severities = _stacked([prediction.severity_probabilities for prediction in predictions])
    if severities is not None:
        known = np.array([prediction.reference_severities for prediction in predictions])
        decisions["severity_accuracy"] = severity_decision_counts(severities, known)
    changes = [prediction.change_probabilities for prediction in predictions]
    if any(row is not None for row in changes):  # only studies with a prior study have them
        unknown = np.full((NUM_FINDINGS, len(CHANGES)), np.nan)
        probable = np.array([unknown if row is None else row for row in changes], dtype=np.float64)
        known = np.array([prediction.reference_changes for prediction in predictions])
        decisions["change decisions"] = change_decision_counts(probable, known)
    return StudyStatistics(
        additive=additive | {name: compact(values) for name, values in decisions.items()},
        labels=labels,
        probabilities=probabilities,
        uncertain_is_positive=uncertain_is_positive,
    )


def _labels(predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([prediction.reference_labels for prediction in predictions], dtype=np.int8)


def _stacked(rows: Sequence[Sequence | None]) -> np.ndarray | None:
    """None unless every study has a row."""
    return None if any(row is None for row in rows) else np.array(rows, dtype=np.float64)
