"""Choose one of several candidate reports of a study.

A report should state what the classifier decides, and not contradict itself: only candidates with the fewest errors
remain. An error is a finding on which report and classifier disagree, a contradiction, a finding with another side in
the impression than in the findings, or a mention of a prior study that was not given. Of the remaining candidates, the
one that is most similar to all candidates is taken: minimum Bayes risk (Kumar and Byrne 2004), with the F-score of
n-grams of 1 to 4 words as similarity.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.checks.consistency import consistency
from eval.metrics.bleu import ngram_counts
from eval.metrics.normalization import normalize_report
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

ERRORS = ("disagreement_rate", "contradiction_rate", "laterality_conflict_rate", "prior_report_rate")


def generate_reports(
    generator: ReportGenerator, images: Any, *, options: GenerationOptions, **inputs
) -> list[StudyReport]:
    """`ReportGenerator.generate`; with `options.num_candidates` above 1, the best candidate of each study."""
    if options.num_candidates == 1:
        return generator.generate(images, options=options, **inputs)
    studies = generator.generate_candidates(images, options=options, **inputs)
    return [best_candidate(candidates, generator.calibration) for candidates in studies]


def best_candidate(candidates: Sequence[StudyReport], calibration: Calibration) -> StudyReport:
    """The candidate with the fewest errors, and among those the most typical one; the first of equals."""
    texts = [candidate.report for candidate in candidates]
    probabilities = [np.where(calibration.is_known, one.finding_probabilities, np.nan) for one in candidates]
    has_prior = [candidate.change_probabilities is not None for candidate in candidates]
    found = consistency(texts, texts, np.array(probabilities), calibration.thresholds, has_prior=has_prior)
    errors = sum(found.parts[name] for name in ERRORS)
    fewest = np.flatnonzero(errors == errors.min())
    return candidates[fewest[np.argmax(_typicality(texts)[fewest])]]


def _typicality(texts: Sequence[str]) -> np.ndarray:
    """Mean similarity of each text to all texts, 0 to 1."""
    counts = [ngram_counts(normalize_report(text).split()) for text in texts]
    totals = [count.total() for count in counts]
    similarity = [
        [
            2 * (one & other).total() / max(1, total + other_total)
            for other, other_total in zip(counts, totals, strict=True)
        ]
        for one, total in zip(counts, totals, strict=True)
    ]
    return np.mean(similarity, axis=1)
