"""Whether reports can be believed without knowing the truth: do they contradict themselves or the classifier, speak of
studies nobody gave, repeat themselves, run short?

Reports in; what was found in each study first, rates second. Every rate is one weighted sum over studies by another,
so that the caller's bootstrap weights give its interval. Real reports are not free of these faults either: hold the
rates against those of the references.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.reports.labeler.labeler import label_report
from data.reports.sentences import speaks_of_prior
from eval.checks.contradictions import Contradiction, contradictions
from eval.metrics.bootstrap import NUM_RESAMPLES, interval, point_values, resample
from eval.metrics.clinical import is_positive
from eval.metrics.laterality import laterality_conflicts, report_sentences
from eval.metrics.normalization import normalize_report
from vlm.schema.findings import FINDINGS, NUM_FINDINGS

RATES = {
    "contradiction_rate": "reports that state and deny the same finding",
    "laterality_conflict_rate": "reports whose impression puts a finding on the other side than their findings do",
    "disagreement_rate": "findings on which report and classifier disagree",
    "prior_report_rate": "reports that speak of a prior study where none was given",
    "prior_sentence_rate": "sentences that speak of a prior study",
    "repeated_sentence_rate": "sentences that repeat another of their report",
    "length_ratio": "words for each word of the references",
}
MAX_EXAMPLES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """What was found, study by study. `report_only` and `classifier_only` [studies, 14]: the report names what the
    classifier calls absent, and the reverse; `is_compared` [studies, 14] where there is a probability.
    `parts` and `wholes` [studies]: what each rate of RATES sums."""

    contradictions: tuple[tuple[Contradiction, ...], ...]
    prior_sentences: tuple[tuple[str, ...], ...]
    repeated_sentences: tuple[tuple[str, ...], ...]
    report_only: np.ndarray
    classifier_only: np.ndarray
    is_compared: np.ndarray
    parts: dict[str, np.ndarray]
    wholes: dict[str, np.ndarray]

    def statistic(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each rate [resamples] under weights [resamples, studies], and "disagreement" [resamples, 14]; NaN where
        undefined."""
        rates = {name: _ratio(weights @ self.parts[name], weights @ self.wholes[name]) for name in RATES}
        disagreeing = (self.report_only | self.classifier_only).astype(np.float64)
        rates["disagreement"] = _ratio(weights @ disagreeing, weights @ self.is_compared.astype(np.float64))
        return rates


def consistency(
    reports: Sequence[str],
    references: Sequence[str],
    probabilities: Sequence[Sequence[float]] | np.ndarray | None = None,
    thresholds: Sequence[float] | np.ndarray | None = None,
    prior_given: Sequence[bool] | None = None,
    *,
    uncertain_is_positive: bool = True,
) -> Consistency:
    """Looks at each report. An empty report has no sentence and counts in no rate but that of the length.

    `probabilities` [studies, 14] and `thresholds` [14] or [studies, 14] (0.5 where not given) are the classifier's;
    NaN is not compared. `prior_given` says which studies came with a prior one; none, where it is left out.

    Raises:
        ValueError: the lists are of unequal length, or not [studies, 14].
    """
    num_studies = len(reports)
    prior_given = [False] * num_studies if prior_given is None else prior_given
    for name, values in (("references", references), ("entries of prior_given", prior_given)):
        if len(values) != num_studies:
            raise ValueError(f"{num_studies} reports but {len(values)} {name}: give one a study")
    look_of = {report: _look_at(report) for report in dict.fromkeys(reports)}
    looks = [look_of[report] for report in reports]
    no_prior = ~np.asarray(prior_given, dtype=bool)
    num_sentences = np.array([look.num_sentences for look in looks])
    num_prior = np.array([len(look.prior) for look in looks]) * no_prior
    has_text = num_sentences > 0
    report_only, classifier_only, is_compared = _disagreement(reports, probabilities, thresholds, uncertain_is_positive)
    num_words = np.array([_num_words(report) for report in reports], dtype=np.float64)
    reference_words = np.array([_num_words(reference) for reference in references], dtype=np.float64)
    parts = {
        "contradiction_rate": [bool(look.contradictions) for look in looks],
        "laterality_conflict_rate": [bool(look.crossed) for look in looks],
        "disagreement_rate": (report_only | classifier_only).sum(axis=1),
        "prior_report_rate": num_prior > 0,
        "prior_sentence_rate": num_prior,
        "repeated_sentence_rate": [len(look.repeated) for look in looks],
        "length_ratio": np.where(reference_words > 0, num_words, 0),
    }
    wholes = {
        "contradiction_rate": has_text,
        "laterality_conflict_rate": has_text,
        "disagreement_rate": is_compared.sum(axis=1),
        "prior_report_rate": has_text & no_prior,
        "prior_sentence_rate": num_sentences * no_prior,
        "repeated_sentence_rate": num_sentences,
        "length_ratio": reference_words,
    }
    return Consistency(
        contradictions=tuple(look.contradictions for look in looks),
        prior_sentences=tuple(look.prior if counted else () for look, counted in zip(looks, no_prior, strict=True)),
        repeated_sentences=tuple(look.repeated for look in looks),
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
    """Rates with intervals, disagreement finding by finding, and examples, ready for JSON; undefined is null.

    `references` is what the same look at the reference reports found.
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


def consistency_lines(document: dict[str, Any] | None) -> list[str]:
    """The document's rates in words, a line each, with those of the references; undefined ones are left out."""
    if document is None:
        return []
    lines = []
    for name, description in document["descriptions"].items():
        rate, reference = document["rates"][name], (document["references"] or {}).get(name, {})
        if rate["value"] is None:
            continue
        beside = (
            "" if reference.get("value") is None or name == "length_ratio" else f"; references {_told(reference, name)}"
        )
        lines.append(f"{description}: {_told(rate, name)}{beside}")
    return lines


def _told(estimate: dict[str, Any], name: str) -> str:
    sign = ".2f" if name == "length_ratio" else ".1%"
    if estimate["low"] is None:
        return f"{estimate['value']:{sign}}"
    return f"{estimate['value']:{sign}} [{estimate['low']:{sign}}, {estimate['high']:{sign}}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What one report shows by itself. `crossed`: findings on one side above and on the other below; `prior`:
    sentences that speak of a prior study; `repeated`: those that stood in the report before."""

    num_sentences: int
    contradictions: tuple[Contradiction, ...]
    crossed: tuple[int, ...]
    prior: tuple[str, ...]
    repeated: tuple[str, ...]


def _look_at(report: str) -> _Look:
    sentences = [(sentence, words) for sentence in report_sentences(report) if (words := normalize_report(sentence))]
    seen: set[str] = set()
    repeated = []
    for sentence, words in sentences:
        if words in seen:
            repeated.append(sentence)
        seen.add(words)
    return _Look(
        num_sentences=len(sentences),
        contradictions=contradictions(report),
        crossed=laterality_conflicts(report),
        prior=tuple(sentence for sentence, _ in sentences if speaks_of_prior(sentence)),
        repeated=tuple(repeated),
    )


def _disagreement(reports, probabilities, thresholds, uncertain_is_positive) -> tuple[np.ndarray, ...]:
    """Written and not believed, believed and not written, compared: bool [studies, 14] each."""
    shape = (len(reports), NUM_FINDINGS)
    if probabilities is None:
        return tuple(np.zeros(shape, dtype=bool) for _ in range(3))
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != shape:
        raise ValueError(f"probabilities are {probabilities.shape} but must be {shape}: 14 findings a study")
    thresholds = np.asarray(0.5 if thresholds is None else thresholds, dtype=np.float64)
    if thresholds.shape not in ((), (NUM_FINDINGS,), shape):
        raise ValueError(f"thresholds are {thresholds.shape} but must be {NUM_FINDINGS}, one a finding, or {shape}")
    label_of = {report: label_report(report) for report in dict.fromkeys(reports)}
    labels = np.array([label_of[report] for report in reports]).reshape(shape)
    written = is_positive(labels, uncertain_is_positive)
    has_text = np.array([bool(normalize_report(report)) for report in reports], dtype=bool)
    is_compared = ~np.isnan(probabilities) & has_text[:, None]
    believed = probabilities >= thresholds
    return written & ~believed & is_compared, ~written & believed & is_compared, is_compared


def _num_words(report: str) -> int:
    return len(normalize_report(report).split())


def _ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.divide(parts, wholes, out=np.full(np.shape(parts), np.nan), where=wholes != 0)


def _rates(found: Consistency, subject_ids: Sequence[str], num_resamples: int, seed: int) -> dict[str, Any]:
    values = point_values(found.statistic, len(subject_ids))
    samples = resample(found.statistic, subject_ids, num_resamples, seed)
    return {name: asdict(interval(values[name], samples[name])) for name in RATES}


def _examples(study_ids: Sequence[str], studies: Sequence[Sequence[dict[str, str]]]) -> list[dict[str, str]]:
    """The first few, with the study that each is from."""
    found = [{"study_id": study_id} | one for study_id, study in zip(study_ids, studies, strict=True) for one in study]
    return found[:MAX_EXAMPLES]
