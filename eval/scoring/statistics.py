"""What each study adds to the figures. Every figure is a function of how often each study is counted, so a bootstrap
resample, a group of studies and a swap of two systems' outputs are all the same thing: other weights.

Text scores and finding counts are sums over studies; ranking and calibration of probabilities are computed from the
weights themselves. CIDEr's document frequencies come from all references and stay fixed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.bleu import bleu, bleu_from_statistics
from eval.metrics.chrf import chrf, chrf_from_statistics
from eval.metrics.cider import both_ciders
from eval.metrics.clinical import (
    confusion_counts,
    divide,
    mean_of_defined,
    scores_from_counts,
    state_agreement,
    state_counts,
)
from eval.metrics.laterality import side_counts, side_scores
from eval.metrics.meteor import meteor
from eval.metrics.probabilities import (
    PROBABILITY_SCORES,
    call_counts,
    call_scores,
    pooled_calibration_error,
    probability_scores,
)
from eval.metrics.rouge import rouge_l, stemmed_rouge_l
from eval.predictions.prediction import Prediction

LabelReport = Callable[[str], Sequence[int]]

MEAN_TEXT_SCORES = ("cider", "plain_cider", "rouge_l", "stemmed_rouge_l", "meteor")
"""Text scores whose value for a corpus is the mean over its studies; of BLEU and chrF the sums are kept."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudyStatistics:
    """`additive`: arrays [studies, …] by name, summed over studies; `labels` and `probabilities` (or None) in
    [studies, 14]."""

    additive: dict[str, np.ndarray]
    labels: np.ndarray
    probabilities: np.ndarray | None
    uncertain_is_positive: bool

    @property
    def num_studies(self) -> int:
        return len(self.labels)

    def take(self, studies: np.ndarray) -> "StudyStatistics":
        """Those of some studies, by index or mask."""
        return StudyStatistics(
            additive={name: values[studies] for name, values in self.additive.items()},
            labels=self.labels[studies],
            probabilities=None if self.probabilities is None else self.probabilities[studies],
            uncertain_is_positive=self.uncertain_is_positive,
        )

    def followed_by(self, other: "StudyStatistics") -> "StudyStatistics":
        """These studies and then the other's; what only one of the two has is left out."""
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
        """Figures [resamples, …] of weights [resamples, studies], NaN where undefined: by the keys of METRICS; per
        finding `precision`, `recall`, `f1`, PROBABILITY_SCORES and CALL_SCORES [resamples, 14]; averages and findings
        of reports under the other convention for uncertain with "other " before their names."""
        sums = {
            name: (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])
            for name, values in self.additive.items()
        }
        figures = scores_from_counts(sums["findings"])
        figures |= {f"other {name}": value for name, value in scores_from_counts(sums["other findings"]).items()}
        figures |= state_agreement(sums["states"])
        figures |= side_scores(sums["sides"])
        if self.probabilities is not None:
            known = self.probabilities, self.labels, weights, self.uncertain_is_positive
            per_finding = probability_scores(*known)
            figures |= per_finding
            figures |= {f"macro_{score}": mean_of_defined(per_finding[score]) for score in PROBABILITY_SCORES}
            figures["pooled_calibration_error"] = pooled_calibration_error(*known)
        if "calls" in sums:
            figures |= call_scores(sums["calls"])
        if "bleu" in sums:
            num_with_text = sums["has text"]
            # A resample that drew no study with a reference says nothing about the text.
            defined = np.where(num_with_text > 0, 1.0, np.nan)[:, None]
            bleus = bleu_from_statistics(sums["bleu"]) * defined
            figures["chrf"] = chrf_from_statistics(sums["chrf"]) * defined[:, 0]
            figures |= {f"bleu_{order + 1}": bleus[:, order] for order in range(bleus.shape[1])}
            figures |= {score: divide(sums[score], num_with_text) for score in MEAN_TEXT_SCORES}
        return figures


def study_statistics(
    predictions: Sequence[Prediction],
    reports: Sequence[str],
    references: Sequence[str],
    label_report: LabelReport,
    *,
    uncertain_is_positive: bool = True,
) -> StudyStatistics:
    """Of predictions and their normalised texts; studies without a reference text count in no text score."""
    labels = np.array([prediction.reference_labels for prediction in predictions])
    said = _label_all([prediction.report for prediction in predictions], label_report)
    additive = {
        "findings": confusion_counts(said, labels, uncertain_is_positive),
        "other findings": confusion_counts(said, labels, not uncertain_is_positive),
        "states": state_counts(said, labels),
        "sides": side_counts(
            [prediction.report for prediction in predictions],
            [prediction.reference for prediction in predictions],
            label_report,
        ),
    }
    has_text = np.array([bool(reference) for reference in references])
    if has_text.any():
        scored = np.flatnonzero(has_text)
        pair = [reports[study] for study in scored], [references[study] for study in scored], "none"
        of_text = {score.__name__: score(*pair).statistics for score in (bleu, chrf)}
        of_text |= {score.__name__: score(*pair).per_study for score in (rouge_l, stemmed_rouge_l, meteor)}
        of_text["cider"], of_text["plain_cider"] = (score.per_study for score in both_ciders(*pair))
        additive |= {name: _spread(values, has_text) for name, values in of_text.items()} | {"has text": has_text}
    probabilities = _of_all([prediction.probabilities for prediction in predictions])
    if probabilities is not None:
        thresholds = _of_all([prediction.thresholds for prediction in predictions])
        additive["calls"] = call_counts(probabilities, labels, thresholds, uncertain_is_positive)
    return StudyStatistics(
        additive={name: np.asarray(values, dtype=np.float64) for name, values in additive.items()},
        labels=labels,
        probabilities=probabilities,
        uncertain_is_positive=uncertain_is_positive,
    )


def _of_all(rows: Sequence[Sequence[float] | None]) -> np.ndarray | None:
    """None unless every study has its row."""
    return None if any(row is None for row in rows) else np.array(rows, dtype=np.float64)


def _label_all(reports: list[str], label_report: LabelReport) -> np.ndarray:
    labels_of = {report: tuple(label_report(report)) for report in dict.fromkeys(reports)}
    return np.array([labels_of[report] for report in reports])


def _spread(values: np.ndarray, has_text: np.ndarray) -> np.ndarray:
    """Rows of the studies that have a text, 0 for the others."""
    spread = np.zeros((len(has_text), *values.shape[1:]))
    spread[has_text] = values
    return spread
