"""The findings of a reading: what the classifier predicts, what the report states, and what a reader set.

by_probability(finding_rows(reading))        # those with training labels
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.reports.labeler.changes import report_changes
from page.study.read import StudyReading
from vlm.operating_point import BEST_F1, OperatingPoint
from vlm.schema.findings import (
    BLANK,
    CHANGES,
    FINDING_INDEX,
    FINDINGS,
    NEGATIVE,
    NUM_FINDINGS,
    POSITIVE,
    PRESENT_CHANGES,
    UNCERTAIN,
    UNLABELED,
    UNLABELED_STUDY,
)
from vlm.schema.number_format import format_count, format_probability

STATE_WORDS = {BLANK: "not mentioned", POSITIVE: "present", NEGATIVE: "absent", UNCERTAIN: "possible"}
"""What a report states about a finding, by CheXbert label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedFinding:
    """The classifier's prediction for a finding, and the label of the written report (a CheXbert label)."""

    finding: str
    probability: float
    threshold: float
    label: int
    disagrees: bool
    low_confidence: bool = False
    severity: tuple[str, float] | None = None
    """See vlm.schema.study_report.StudyReport.severity_of."""
    change: tuple[str, float] | None = None
    """See StudyReport.change_of; None without a prior study."""
    stated_changes: tuple[str, ...] = ()
    """What the report says of the change since the prior study, one or several of CHANGES."""
    reader_label: int | None = None
    """The label that the reader set; None: the one of the report."""

    @property
    def checked_label(self) -> int:
        return self.label if self.reader_label is None else self.reader_label

    @property
    def is_positive(self) -> bool:
        return self.probability >= self.threshold

    @property
    def prediction(self) -> str:
        return "positive" if self.is_positive else "negative"

    @property
    def percent(self) -> str:
        return format_probability(self.probability)

    @property
    def change_fits(self) -> bool:
        """Whether the change agrees with the prediction: a resolved finding, for example, is not positive."""
        return self.change is None or (self.change[0] in PRESENT_CHANGES) == self.is_positive

    @property
    def change_disagrees(self) -> bool:
        """Whether the report states another change."""
        return bool(self.change and self.stated_changes) and self.change[0] not in self.stated_changes

    @property
    def change_text(self) -> str:
        """The change since the prior study, such as "worse (87%)"; "" if it is unknown."""
        return f"{self.change[0]} ({format_probability(self.change[1])})" if self.change else ""

    @property
    def stated(self) -> str:
        """What the report states."""
        return STATE_WORDS[self.label]

    @property
    def statement(self) -> str:
        """The same, what the reader set instead, and whether the prediction disagrees."""
        changed = "" if self.reader_label is None else f", set to {STATE_WORDS[self.reader_label]} by the reader"
        return self.stated + changed + (" (disagrees)" if self.disagrees else "")


def calibration_note(num_studies: int, point: OperatingPoint) -> str:
    """Whether the probabilities are calibrated, and what the thresholds were chosen for, for the reader of a report."""
    chosen = "" if point == BEST_F1 else f" Thresholds for {point.description}."
    if num_studies == 0:
        return f"Probabilities are not calibrated: use them to rank findings, not as chances.{chosen}"
    studies = format_count(num_studies, "validation study", "validation studies")
    calibrated = f"Probabilities are calibrated on {studies} similar to the training data"
    return f"{calibrated}; on other images they may be far off.{chosen}"


def finding_rows(reading: StudyReading, states: Sequence[int] = UNLABELED_STUDY) -> tuple[RecordedFinding, ...]:
    """The findings with training labels, in the order of FINDINGS; `states` are those that a reader set."""
    calibration = reading.calibration
    stated = report_changes(reading.report.report) if reading.prior else ((),) * NUM_FINDINGS
    rows = tuple(
        RecordedFinding(
            finding=finding,
            probability=reading.report.finding_probabilities[index],
            threshold=calibration.thresholds[index],
            label=reading.labels[index],
            disagrees=reading.disagrees[index],
            low_confidence=reading.low_confidence[index],
            severity=reading.report.severity_of(index),
            change=reading.report.change_of(index),
            stated_changes=tuple(CHANGES[code] for code in sorted(stated[index])),
        )
        for index, finding in enumerate(FINDINGS)
        if calibration.is_known[index]
    )
    return tuple(_set_by_reader(row, states[FINDING_INDEX[row.finding]]) for row in rows)


def _set_by_reader(row: RecordedFinding, state: int) -> RecordedFinding:
    if state == UNLABELED:
        return row
    # As in eval.checks.consistency, a possible finding counts as positive.
    disagrees = (state in (POSITIVE, UNCERTAIN)) != row.is_positive
    return replace(row, reader_label=state, disagrees=disagrees)


def change_conflicts(row: RecordedFinding) -> list[str]:
    """What the change of a finding does not fit: the prediction, and what the report says."""
    conflicts = [] if row.change_fits else [f"predicted {row.prediction}"]
    return [*conflicts, *([f"the report says {' and '.join(row.stated_changes)}"] if row.change_disagrees else [])]


def by_probability(rows: Sequence[RecordedFinding]) -> list[RecordedFinding]:
    """Positive predictions first, then by probability."""
    return sorted(rows, key=lambda row: (not row.is_positive, -row.probability))


def changed(rows: Sequence[RecordedFinding]) -> list[RecordedFinding]:
    """The findings that are or were there by the comparison with the prior study, or for which it does not fit the
    prediction or the report: new ones first, unchanged ones last; then by the probability of the change."""
    order = ("new", "worse", "better", "resolved", "unchanged", "none")
    found = [row for row in rows if row.change and (row.change[0] != "none" or change_conflicts(row))]
    return sorted(found, key=lambda row: (order.index(row.change[0]), -row.change[1]))
