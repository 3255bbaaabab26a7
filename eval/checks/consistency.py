"""Consistency of reports without a reference: do they contradict themselves or the classifier, mention prior studies
that the model did not see, repeat sentences, or are they too short?

The input is reports, the output is per-study results and rates. Each rate is a ratio of two weighted sums over studies,
so bootstrap weights give its interval. Real reports also have these problems: compare with the rates of the references.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.reports.labeler.labeler import label_report
from data.reports.sentences import speaks_of_prior
from eval.checks.contradictions import Contradiction, contradictions
from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.metrics.clinical import divide
from eval.metrics.laterality import laterality_conflicts, report_sentences
from eval.metrics.normalization import normalize_report
from eval.metrics.probabilities import decision_counts
from vlm.schema.findings import FINDINGS, NUM_FINDINGS

RATES = {
    "contradiction_rate": "reports that state and deny the same finding",
    "laterality_conflict_rate": "reports with opposite laterality of a finding in findings and impression",
    "disagreement_rate": "findings on which report and classifier disagree",
    "prior_report_rate": "reports that mention a prior study when none was given",
    "prior_sentence_rate": "sentences that mention a prior study when none was given",
    "repeated_sentence_rate": "repeated sentences within a report",
    "length_ratio": "words per word of the references",
}
MAX_EXAMPLES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """Results by study.

    `report_only` and `classifier_only` [studies, 14]: findings that only the report or only the classifier has;
    `is_compared` [studies, 14]: there is a probability. `parts` and `wholes` [studies]: numerator and denominator of
    each rate in RATES.
    """

    contradictions: tuple[tuple[Contradiction, ...], ...]
    prior_sentences: tuple[tuple[str, ...], ...]
    repeated_sentences: tuple[tuple[str, ...], ...]
    report_only: np.ndarray
    classifier_only: np.ndarray
    is_compared: np.ndarray
    parts: dict[str, np.ndarray]
    wholes: dict[str, np.ndarray]

    def statistic(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each rate [resamples] under weights [resamples, studies]; NaN where undefined."""
        return {name: divide(weights @ self.parts[name], weights @ self.wholes[name]) for name in RATES}


def consistency(
    reports: Sequence[str],
    references: Sequence[str],
    probabilities: Sequence[Sequence[float]] | np.ndarray | None = None,
    thresholds: Sequence[float] | np.ndarray | None = None,
    *,
    has_prior: Sequence[bool] | np.ndarray | None = None,
    uncertain_is_positive: bool = True,
) -> Consistency:
    """Check each report. An empty report counts only in the length ratio.

    A report of a study that was given with a prior study (`has_prior`) may mention it: it does not count in the rates
    of mentions.

    `probabilities` [studies, 14] and `thresholds` [14] or [studies, 14] (default 0.5) come from the classifier; NaN is
    not compared.

    Raises:
        ValueError: the lists have different lengths, or the arrays are not [studies, 14].
    """
    if len(references) != len(reports):
        raise ValueError(f"{len(reports)} reports but {len(references)} references: give one per study")
    check_of = {report: _check_report(report) for report in dict.fromkeys(reports)}
    checks = [check_of[report] for report in reports]
    num_sentences = np.array([check.num_sentences for check in checks])
    may_mention = np.zeros(len(reports), dtype=bool) if has_prior is None else np.asarray(has_prior, dtype=bool)
    prior_sentences = [() if may else check.prior for check, may in zip(checks, may_mention, strict=True)]
    num_prior = np.array(list(map(len, prior_sentences)))
    has_text = num_sentences > 0
    report_only, classifier_only, is_compared = _disagreement(reports, probabilities, thresholds, uncertain_is_positive)
    num_words = np.array([_num_words(report) for report in reports], dtype=np.float64)
    reference_words = np.array([_num_words(reference) for reference in references], dtype=np.float64)
    parts = {
        "contradiction_rate": [bool(check.contradictions) for check in checks],
        "laterality_conflict_rate": [bool(check.crossed) for check in checks],
        "disagreement_rate": (report_only | classifier_only).sum(axis=1),
        "prior_report_rate": num_prior > 0,
        "prior_sentence_rate": num_prior,
        "repeated_sentence_rate": [len(check.repeated) for check in checks],
        "length_ratio": np.where(reference_words > 0, num_words, 0),
    }
    wholes = {
        "contradiction_rate": has_text,
        "laterality_conflict_rate": has_text,
        "disagreement_rate": is_compared.sum(axis=1),
        "prior_report_rate": has_text & ~may_mention,
        "prior_sentence_rate": num_sentences * ~may_mention,
        "repeated_sentence_rate": num_sentences,
        "length_ratio": reference_words,
    }
    return Consistency(
        contradictions=tuple(check.contradictions for check in checks),
        prior_sentences=tuple(prior_sentences),
        repeated_sentences=tuple(check.repeated for check in checks),
        report_only=report_only,
        classifier_only=classifier_only,
        is_compared=is_compared,
        parts={name: np.asarray(values, dtype=np.float64) for name, values in parts.items()},
        wholes={name: np.asarray(values, dtype=np.float64) for name, values in wholes.items()},
    )


def consistency_document(
    found: Consistency,
    study_ids: Sequence[str],
    subject_ids: Sequence[str],
    *,
    references: Consistency | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Rates with intervals, disagreements per finding, and examples, ready for JSON; undefined is null.

    `references` holds the same results for the reference reports.
    """
    return {
        "rates": _rates(found, subject_ids, num_resamples, seed),
        "references": None if references is None else _rates(references, subject_ids, num_resamples, seed),
        "descriptions": RATES,
        "per_finding": [
            {
                "finding": finding,
                "num_compared": int(found.is_compared[:, index].sum()),
                "report_only": int(found.report_only[:, index].sum()),
                "classifier_only": int(found.classifier_only[:, index].sum()),
            }
            for index, finding in enumerate(FINDINGS)
        ],
        "contradictions": _examples(
            study_ids,
            [
                [{"finding": one.finding, "stated": one.stated, "denied": one.denied} for one in study]
                for study in found.contradictions
            ],
        ),
        "prior_sentences": _examples(study_ids, [[{"sentence": text} for text in s] for s in found.prior_sentences]),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _ReportCheck:
    """Results for one report.

    `crossed`: findings with opposite laterality in findings and impression; `prior`: sentences that mention a prior
    study; `repeated`: sentences that occurred earlier in the report.
    """

    num_sentences: int
    contradictions: tuple[Contradiction, ...]
    crossed: tuple[int, ...]
    prior: tuple[str, ...]
    repeated: tuple[str, ...]


def _check_report(report: str) -> _ReportCheck:
    sentences = [(sentence, words) for sentence in report_sentences(report) if (words := normalize_report(sentence))]
    seen: set[str] = set()
    repeated = []
    for sentence, words in sentences:
        if words in seen:
            repeated.append(sentence)
        seen.add(words)
    return _ReportCheck(
        num_sentences=len(sentences),
        contradictions=contradictions(report),
        crossed=laterality_conflicts(report),
        prior=tuple(sentence for sentence, _ in sentences if speaks_of_prior(sentence)),
        repeated=tuple(repeated),
    )


def _disagreement(reports, probabilities, thresholds, uncertain_is_positive) -> tuple[np.ndarray, ...]:
    """Report only, classifier only, compared: bool [studies, 14] each."""
    if probabilities is None:
        return (np.zeros((len(reports), NUM_FINDINGS), dtype=bool),) * 3
    labels = [label_report(report) for report in reports]
    counts = decision_counts(probabilities, labels, thresholds, uncertain_is_positive)
    has_text = np.array([bool(normalize_report(report)) for report in reports])
    _, classifier_only, report_only, _ = np.moveaxis((counts > 0) & has_text[:, None, None], -1, 0)
    return report_only, classifier_only, (counts.sum(axis=-1) > 0) & has_text[:, None]


def _num_words(report: str) -> int:
    return len(normalize_report(report).split())


def _rates(found: Consistency, subject_ids: Sequence[str], num_resamples: int, seed: int) -> dict[str, Any]:
    rates = estimates(found.statistic, subject_ids, num_resamples, seed)
    return {name: asdict(rate) for name, rate in rates.items()}


def _examples(study_ids: Sequence[str], studies: Sequence[Sequence[dict[str, str]]]) -> list[dict[str, str]]:
    """The first examples, each with its study_id."""
    found = [{"study_id": study_id} | one for study_id, study in zip(study_ids, studies, strict=True) for one in study]
    return found[:MAX_EXAMPLES]
