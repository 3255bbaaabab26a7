"""Choose one of several candidate reports of a study.

A report should state what the classifier decides, and not contradict itself: only candidates with the fewest errors
remain. An error is a finding on which report and classifier disagree, a contradiction, a finding with another side in
the impression than in the findings, or a mention of a prior study that was not given. Of these, the candidates remain
that name the fewest findings on a side of the chest without attention, and of these, with a prior study, those whose
stated changes differ least from the decisions of the change head. Of the remaining candidates, the one that is most
similar to all candidates is taken: minimum Bayes risk (Kumar and Byrne 2004), with the F-score of n-grams of 1 to 4
words as similarity.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from eval.checks.consistency import consistency
from eval.checks.temporal import stated_changes
from eval.metrics.bleu import ngram_counts
from eval.metrics.laterality import stated_laterality
from eval.metrics.normalization import normalize_report
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.layers.finding_change import change_shares
from vlm.schema.findings import WITHOUT_CHANGE, is_lateral
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

ONE_SIDE = 0.75
"""A finding with at least this share of its attention on one half of the frontal images is on this side only."""
ERRORS = ("disagreement_rate", "contradiction_rate", "laterality_conflict_rate", "prior_report_rate")


def generate_reports(
    generator: ReportGenerator, images: Any, *, options: GenerationOptions, **inputs
) -> list[StudyReport]:
    """`ReportGenerator.generate`; with `options.num_candidates` above 1, the best candidate of each study."""
    if options.num_candidates == 1:
        return generator.generate(images, options=options, **inputs)
    studies = generator.generate_candidates(images, options=options, **inputs)
    positions = inputs.get("view_positions") or [()] * len(studies)
    return [
        best_candidate(candidates, generator.calibration, views)
        for candidates, views in zip(studies, positions, strict=True)
    ]


def best_candidate(
    candidates: Sequence[StudyReport], calibration: Calibration, view_positions: Sequence[str] = ()
) -> StudyReport:
    """The candidate with the fewest errors; of those, with the fewest wrong sides; of those, with the fewest wrong or
    missing changes; of those, the most typical one. The first of equals.

    `view_positions` of the images of the study; an image without one counts as frontal.
    """
    texts = [candidate.report for candidate in candidates]
    probabilities = [np.where(calibration.is_known, one.finding_probabilities, np.nan) for one in candidates]
    has_prior = [candidate.change_probabilities is not None for candidate in candidates]
    found = consistency(texts, texts, np.array(probabilities), calibration.thresholds, has_prior=has_prior)
    errors = sum(found.parts[name] for name in ERRORS)
    is_present = np.array(candidates[0].finding_probabilities) >= np.array(calibration.thresholds)
    changes = _wrong_changes(candidates, is_present)
    order = np.lexsort((-_typicality(texts), changes, _wrong_sides(candidates, view_positions), errors))
    return candidates[order[0]]


def _wrong_changes(candidates: Sequence[StudyReport], is_present: Bool[np.ndarray, " findings"]) -> list[int]:
    """For each candidate, the number of changes that it states against the decisions of the change head, or leaves out.
    0 without a prior study."""
    probabilities = candidates[0].change_probabilities
    if probabilities is None:
        return [0] * len(candidates)
    decided = change_shares(torch.tensor(probabilities)[None].log(), torch.tensor(is_present)[None])[0, :, 1:].numpy()
    decided[WITHOUT_CHANGE] = 0
    return [int((stated_changes(candidate.report) != decided).sum()) for candidate in candidates]


def _wrong_sides(candidates: Sequence[StudyReport], view_positions: Sequence[str]) -> list[int]:
    """For each candidate, the number of findings that it names on a side without attention. The patient's left is on
    the right of a frontal image."""
    maps = candidates[0].attention_maps
    lateral = list(map(is_lateral, view_positions))
    frontal = [view for view in range(maps.shape[1]) if not any(lateral[view : view + 1])]
    columns = maps[:, frontal].sum(axis=(1, 2))
    half = columns.shape[1] // 2
    right, left = columns[:, :half].sum(axis=1), columns[:, columns.shape[1] - half :].sum(axis=1)
    least = np.maximum(ONE_SIDE * (right + left), 1e-6)
    without = np.where(left >= least, "right", np.where(right >= least, "left", ""))
    return [
        sum(sides is not None and side in sides for sides, side in zip(stated, without.tolist(), strict=True))
        for stated in (stated_laterality(candidate.report) for candidate in candidates)
    ]


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
