"""Write a report again if it has errors, and keep the best of the candidates.

A report should state what the classifier decides, and not contradict itself. An error is a finding on which report and
classifier disagree, a contradiction, a finding with another side in the impression than in the findings, a mention of a
prior study that was not given, or a missing end. The candidate with the fewest errors is kept; of equals, the one that
names the fewest findings on a side of the chest without attention; of these, with a prior study, the one whose stated
changes differ least from the decisions of the change head; of these, the first. The first candidate is the greedy
report, so a greedy report without any of this is kept, and no other one is written for its study.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool

from eval.checks.consistency import consistency
from eval.checks.temporal import stated_changes
from eval.metrics.laterality import stated_laterality
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Views
from vlm.layers.finding_change import change_shares
from vlm.schema.findings import WITHOUT_CHANGE, is_lateral
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

ONE_SIDE = 0.75
"""A finding with at least this share of its attention on one half of the frontal images is on this side only."""
ERRORS = ("disagreement_rate", "contradiction_rate", "laterality_conflict_rate", "prior_report_rate")


def generate_reports(
    generator: ReportGenerator, images: Sequence[Views], *, options: GenerationOptions, **inputs
) -> list[StudyReport]:
    """`ReportGenerator.generate`; with `options.num_candidates` above 1, the best candidate of each study."""
    if options.num_candidates == 1:
        return generator.generate(images, options=options, **inputs)
    generator = generator.encoding_once()  # a study may be read twice
    reports = generator.generate(images, options=replace(options, num_candidates=1), **inputs)
    positions = inputs.get("view_positions") or [()] * len(reports)
    wrong = [
        study
        for study, report in enumerate(reports)
        if any(_faults([report], generator.calibration, positions[study])[0])
    ]
    if wrong:
        of_wrong = {name: [values[study] for study in wrong] for name, values in inputs.items() if values is not None}
        written = generator.generate_candidates([images[study] for study in wrong], options=options, **of_wrong)
        for study, candidates in zip(wrong, written, strict=True):
            reports[study] = best_candidate(candidates, generator.calibration, positions[study])
    return reports


def best_candidate(
    candidates: Sequence[StudyReport], calibration: Calibration, view_positions: Sequence[str] = ()
) -> StudyReport:
    """The candidate with the fewest errors; of those, with the fewest wrong sides; of those, with the fewest wrong or
    missing changes. The first of equals.

    `view_positions` of the images of the study; an image without one counts as frontal.
    """
    faults = _faults(candidates, calibration, view_positions)
    return candidates[faults.index(min(faults))]


def _faults(
    candidates: Sequence[StudyReport], calibration: Calibration, view_positions: Sequence[str]
) -> list[tuple[int, int, int]]:
    """The number of errors, wrong sides and wrong changes of each candidate report of a study."""
    texts = [candidate.report for candidate in candidates]
    probabilities = [np.where(calibration.is_known, one.finding_probabilities, np.nan) for one in candidates]
    has_prior = [candidate.change_probabilities is not None for candidate in candidates]
    found = consistency(texts, texts, np.array(probabilities), calibration.thresholds, has_prior=has_prior)
    errors = (sum(found.parts[name] for name in ERRORS) + [one.is_truncated for one in candidates]).tolist()
    is_present = np.array(candidates[0].finding_probabilities) >= np.array(calibration.thresholds)
    sides, changes = _wrong_sides(candidates, view_positions), _wrong_changes(candidates, is_present)
    return list(zip(errors, sides, changes, strict=True))


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
