"""Laterality: does a report put a finding on the correct side (left or right)? F1 of findings does not measure this.

Scored are findings that the reference puts on one side only and that the report states as well. A report that guesses
is reversed as often as it is correct.

Also the sentences of a report and the findings that each sentence states.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from data.reports.labeler.claims import SIDED
from data.reports.labeler.device_patterns import DEVICES
from data.reports.labeler.labeler import label_report
from data.reports.labeler.statements import finding_of, report_statements
from data.reports.sentences import split_sentences
from vlm.schema.findings import FINDING_INDEX, NUM_FINDINGS, POSITIVE, UNCERTAIN
from vlm.schema.report_format import split_report

_NO_FINDING = FINDING_INDEX["No Finding"]
MAX_REPORTS_KEPT = 2**15
"""Reports and references whose reading is kept: those of 16,000 studies. Each reference is compared with the report of
the model and of each control, always in the same order, so a smaller cache would find nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedSentence:
    """`findings`: indices of the findings that the sentence states as positive or uncertain."""

    text: str
    section: str
    findings: tuple[int, ...]


def report_sentences(report: str) -> list[str]:
    """The sentences of both sections, in order, without headings."""
    return [sentence for _, sentence in _sentences(report)]


def stated_sentences(report: str) -> list[StatedSentence]:
    """The sentences of a report with their findings. No Finding is excluded: it belongs to a whole report."""
    return [
        StatedSentence(text=sentence, section=section, findings=stated_findings(label_report(sentence)))
        for section, sentence in _sentences(report)
    ]


@lru_cache(maxsize=1024)
def _sentences(report: str) -> tuple[tuple[str, str], ...]:
    """The section and the text of each sentence."""
    sections = split_report(report)
    texts = (("Findings", sections.findings), ("Impression", sections.impression))
    return tuple((section, sentence) for section, text in texts for sentence in split_sentences(text))


def stated_findings(labels: Collection[int]) -> tuple[int, ...]:
    """Indices of positive and uncertain findings, without No Finding."""
    return tuple(index for index, label in enumerate(labels) if label in (POSITIVE, UNCERTAIN) and index != _NO_FINDING)


LATERALITY_SCORES = ("laterality_agreement", "laterality_reversal")
"""Shares of the scored findings on the reference side only, and on the opposite side only. The rest is on both sides
or on none."""


def stated_laterality(report: str) -> list[frozenset[str] | None]:
    """The sides named in the statements of each of the 14 findings; None if the report does not state it.

    A sentence may put two findings on different sides: "left nodule and right pneumonia". Devices without a side, like
    an endotracheal tube, are not counted: they say nothing about the side of another one.
    """
    sides: list[frozenset[str] | None] = [None] * NUM_FINDINGS
    for statement in report_statements(report):
        index, own = FINDING_INDEX.get(finding_of(statement.name)), statement.attributes.sides
        is_without_side = not own and statement.name in DEVICES and statement.name not in SIDED
        if statement.state in (POSITIVE, UNCERTAIN) and index is not None and not is_without_side:
            sides[index] = (sides[index] or frozenset()) | own
    return sides


_laterality = lru_cache(maxsize=MAX_REPORTS_KEPT)(stated_laterality)


def laterality_conflicts(report: str) -> tuple[int, ...]:
    """Indices of findings with opposite sides in the findings section and the impression."""
    sections = split_report(report)
    return tuple(
        finding
        for finding, (one, other) in enumerate(
            zip(stated_laterality(sections.findings), stated_laterality(sections.impression), strict=True)
        )
        if one and other and len(one) == len(other) == 1 and one != other
    )


def laterality_counts(reports: Sequence[str], references: Sequence[str]) -> Float[np.ndarray, "studies 3"]:
    """Per study: number of scored findings, of findings on the reference side, and on the opposite side."""
    counts = np.zeros((len(reports), 3))
    for study, (report, reference) in enumerate(zip(reports, references, strict=True)):
        true = _laterality(reference)
        if not any(sides is not None and len(sides) == 1 for sides in true):
            continue
        for written, sides in zip(_laterality(report), true, strict=True):
            if written is not None and sides is not None and len(sides) == 1:
                counts[study] += (1, written == sides, len(written) == 1 and written != sides)
    return counts


def laterality_scores(counts: Float[np.ndarray, "*resamples 3"]) -> dict[str, np.ndarray]:
    """The shares from summed counts; NaN if nothing is scored."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {score: counts[..., 1 + number] / counts[..., 0] for number, score in enumerate(LATERALITY_SCORES)}
