"""A reader's edit of a report: the text, the findings that the reader set, and who checked them when."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from page.study.read import StudyReading, complete
from vlm.schema.findings import UNLABELED_STUDY
from vlm.schema.report_format import compose_report


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """The report as the reader leaves it; the text may be the model's. With the reader's name it counts as checked."""

    findings: str = ""
    impression: str = ""
    states: tuple[int, ...] = UNLABELED_STUDY
    """CheXbert labels that the reader set; UNLABELED for the others, which are labeled from the edited report."""
    reader: str = ""
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    is_amendment: bool = field(default=False, compare=False)
    """The same report was checked before."""


def edited_reading(reading: StudyReading, edit: Edit) -> StudyReading:
    """The reading with the text of the edit; its sentences, labels and disagreements are those of the new text."""
    report = replace(
        reading.report,
        report=compose_report(findings=edit.findings, impression=edit.impression),
        findings=edit.findings,
        impression=edit.impression,
        is_truncated=False,
    )
    return complete(replace(reading, report=report, only_classifies=False))
