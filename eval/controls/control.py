"""Controls: scores that are possible without the image or with other images, printed beside each score.

This file chooses constant reports (on validation or training reports, never on test), random reports, and the patients
whose images are swapped. `eval.controls.images` and `eval.controls.neighbors` run the model.

Candidates for a constant report are real reports. The best by CIDEr is short, the best by BLEU-4 is long, and the best
by macro-F1 has many findings, so each metric has its own constant.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.reports.labeler.labeler import label_report
from eval.metrics.bleu import MAX_ORDER, bleu_from_statistics, ngrams_by_order
from eval.metrics.cider import CiderReferences
from eval.metrics.clinical import is_positive, mean_of_defined
from eval.metrics.normalization import DEFAULT_NORMALIZATION, normalize_report
from eval.predictions.prediction import Prediction, Rejection
from eval.scoring.verdict import PRIOR_CONTROLS
from eval.scoring.views import VIEW_CONTROLS

SHUFFLED, BLANK, MISMATCHED = "shuffled images", "blank images", "mismatched views"
ANOTHER_PRIOR, OWN_PRIOR, NO_PRIOR = PRIOR_CONTROLS
ANOTHER_LATERAL, ANOTHER_FRONTAL, NO_LATERAL, NO_FRONTAL = VIEW_CONTROLS
BASELINE, NEAREST, RANDOM = "baseline", "nearest neighbor", "random report"
CONSTANT, CONSTANT_BLEU, CONSTANT_F1 = "constant sentence", "constant by BLEU-4", "constant by macro-F1"
MOST_FREQUENT, SOURCE = "most frequent report", "source only"
CONSTANTS = {"macro_f1": CONSTANT_F1, "cider": CONSTANT, "bleu_4": CONSTANT_BLEU}
"""Name of the best constant report by each metric."""
FORMER_NAMES = {NEAREST: "nearest neighbour"}
"""Names of controls in results that were saved before version 0.2.0."""
MEANINGS = {
    SHUFFLED: "the model, shown another patient's images",
    BLANK: "the model, shown gray without any image; the indication and the number of views remain",
    ANOTHER_PRIOR: "the model, with another patient's prior study",
    OWN_PRIOR: "the model, with the study as its own prior study: nothing has changed",
    NO_PRIOR: "the model, without a prior study",
    ANOTHER_LATERAL: "the model, shown its own frontal views with another patient's lateral views",
    ANOTHER_FRONTAL: "the model, shown its own lateral views with another patient's frontal views",
    NO_LATERAL: "the model, shown the frontal views alone",
    NO_FRONTAL: "the model, shown the lateral views alone",
    MISMATCHED: "the model, shown the right images with the wrong view positions: frontal as lateral, lateral as PA",
    BASELINE: "another checkpoint on the same studies",
    NEAREST: "the report of the training study whose features, as the model sees them, are nearest",
    RANDOM: "each study gets the report of a training study, chosen at random",
    CONSTANT: "one validation report for all, the best by CIDEr on validation",
    CONSTANT_BLEU: "one validation report for all, the best by BLEU-4 on validation",
    CONSTANT_F1: "one validation report for all, the best by macro-F1 on validation",
    MOST_FREQUENT: "the most frequent training report for all",
    SOURCE: "what can be said of a study if only its source is known: how frequent each finding is among the training "
    "studies of this source, and their most frequent report",
}
"""A description of each control."""
MAX_CANDIDATES = 200
MAX_REFERENCES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Predictions of a control for the same studies in the same order; or None and the `reason`.

    `report`: the one that the control gives to all studies, if it does.
    """

    name: str
    predictions: tuple[Prediction, ...] | None
    reason: str = ""
    rejections: tuple[Rejection, ...] = ()
    report: str = ""


_OF_THE_CLASSIFIER = ("probabilities", "severity_probabilities", "change_probabilities", "peaks")


def text_control(name: str, predictions: Sequence[Prediction], reports: Sequence[str], *, shown: str = "") -> Control:
    """A control with other reports, without what the classifier and its attention say."""
    given = (
        replace(prediction, report=report, control=name, **dict.fromkeys(_OF_THE_CLASSIFIER))
        for prediction, report in zip(predictions, reports, strict=True)
    )
    return Control(name=name, predictions=tuple(given), report=shown)


def constant_sentence(validation_references: Sequence[str], seed: int = 0) -> str | None:
    """The validation report with the highest mean CIDEr against all validation reports; None if there is no report.

    Large splits are reduced to 500 random reports and 200 random candidates.
    """
    references = [reference for reference in validation_references if normalize_report(reference)]
    if not references:
        return None
    chooser = random.Random(seed)
    if len(references) > MAX_REFERENCES:
        references = chooser.sample(references, MAX_REFERENCES)
    words = [normalize_report(reference).split() for reference in references]
    # One candidate per wording, sorted, so that ties and sampling depend only on the text.
    candidates = sorted({tuple(report): number for number, report in enumerate(words)}.items())
    if len(candidates) > MAX_CANDIDATES:
        candidates = chooser.sample(candidates, MAX_CANDIDATES)
    corpus = CiderReferences(words)
    best = max((number for _, number in candidates), key=lambda number: corpus.score_against_all(number).mean())
    return references[best]


def most_frequent_report(training_references: Sequence[str]) -> str | None:
    """The most frequent wording, as first spelled; ties go to the alphabetically first. None if there is no report."""
    wordings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reference in training_references:
        if wording := normalize_report(reference):
            wordings.setdefault(wording, reference)
            counts[wording] += 1
    if not counts:
        return None
    return wordings[min(counts, key=lambda wording: (-counts[wording], wording))]


def all_different(references: Sequence[str]) -> bool:
    """Whether no two reports have the same words, so that no report is the most frequent."""
    wordings = [wording for reference in references if (wording := normalize_report(reference))]
    return len(set(wordings)) == len(wordings)


def random_reports(
    subject_ids: Sequence[str], reports: Sequence[str], report_subject_ids: Sequence[str], seed: int = 0
) -> list[str] | None:
    """A random report of another patient for each study; None if a study has no candidate.

    Reports are sampled with replacement; empty reports are excluded.
    """
    candidates = [
        (report, subject)
        for report, subject in zip(reports, report_subject_ids, strict=True)
        if normalize_report(report)
    ]
    if not candidates:
        return None
    chooser = random.Random(seed)
    drawn = []
    for subject in subject_ids:
        report, author = chooser.choice(candidates)
        if subject and author == subject:
            of_others = [report for report, author in candidates if author != subject]
            if not of_others:
                return None
            report = chooser.choice(of_others)
        drawn.append(report)
    return drawn


def derangement(subject_ids: Sequence[str], seed: int = 0) -> list[int]:
    """A permutation of the studies in which no study gets the images of the same subject.

    Raises:
        ValueError: impossible because one subject has more than half of the studies.
    """
    studies_of: dict[str, list[int]] = {}
    for study, subject in enumerate(subject_ids):
        studies_of.setdefault(subject, []).append(study)
    largest = max(studies_of, key=lambda subject: len(studies_of[subject]), default="")
    shift = len(studies_of.get(largest, ()))
    if 2 * shift > len(subject_ids):
        raise ValueError(
            f"images cannot be shuffled between patients: {shift} of {len(subject_ids)} studies "
            f"are of subject {largest!r}; evaluate studies of more patients"
        )
    groups = list(studies_of.values())
    random.Random(seed).shuffle(groups)
    order = [study for group in groups for study in group]
    # Studies of a subject are adjacent, so a shift by the size of the largest group leaves each group.
    donors = [0] * len(order)
    for position, study in enumerate(order):
        donors[study] = order[(position + shift) % len(order)]
    return donors


MAX_REPORTS = 2_000


def best_constants(
    reports: Sequence[str],
    *,
    normalization: str = DEFAULT_NORMALIZATION,
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> dict[str, str]:
    """The best constant report for "macro_f1", "cider" and "bleu_4", scored against all `reports` or 2,000 random ones.

    Empty if there is no report.
    """
    reports = sorted(report for report in reports if normalize_report(report, normalization))
    if not reports:
        return {}
    if len(reports) > MAX_REPORTS:
        reports = random.Random(seed).sample(reports, MAX_REPORTS)
    return {
        "macro_f1": best_by_macro_f1(reports, uncertain_is_positive),
        "cider": constant_sentence(reports, seed),
        "bleu_4": best_by_bleu_4(reports, normalization),
    }


def best_by_bleu_4(reports: Sequence[str], normalization: str = DEFAULT_NORMALIZATION) -> str:
    """The report with the highest corpus BLEU-4 against all reports; ties go to the first by its words.

    The matches of a constant are sums of min(own count, reference count) over its n-grams. They follow from the number
    of references that have an n-gram at least once, twice, …, so no pairs need to be compared.
    """
    words = [tuple(normalize_report(report, normalization).split()) for report in reports]
    lengths = np.array(list(map(len, words)))
    matched = np.zeros((len(words), MAX_ORDER))
    for order, ngrams in enumerate(ngrams_by_order(words)):
        different, grams = np.unique(ngrams.grams, return_inverse=True)
        for times in range(1, ngrams.counts.max(initial=0) + 1):
            has = ngrams.counts >= times
            num_having = np.bincount(grams[has], minlength=len(different))
            matched[:, order] += np.bincount(ngrams.texts[has], num_having[grams[has]], minlength=len(words))
    predicted = [np.maximum(0, lengths - order) * len(words) for order in range(MAX_ORDER)]
    totals = np.column_stack([matched, *predicted, lengths * len(words), np.full(len(words), lengths.sum())])
    candidates = sorted({report: number for number, report in reversed(list(enumerate(words)))}.items())
    numbers = [number for _, number in candidates]
    return reports[numbers[int(bleu_from_statistics(totals[numbers])[:, MAX_ORDER - 1].argmax())]]


def best_by_macro_f1(reports: Sequence[str], uncertain_is_positive: bool = True) -> str:
    """The report whose findings have the highest macro-F1 for all patients; ties go to the first by its text."""
    candidates = sorted(set(reports))
    share = is_positive(np.array([label_report(report) for report in reports]), uncertain_is_positive).mean(axis=0)
    predicted = is_positive(np.array([label_report(report) for report in candidates]), uncertain_is_positive)
    # A finding predicted for all patients has recall 1, and its precision is its prevalence.
    f1 = np.where(share > 0, predicted * 2 * share / (1 + share), np.nan)
    return candidates[int(np.nan_to_num(mean_of_defined(f1)).argmax())]
