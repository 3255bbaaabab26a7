"""The sentences of a report and the findings that each states, to mark them for a reader."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from data.reports.sentences import split_sentences
from vlm.schema.findings import FINDING_INDEX, POSITIVE, UNCERTAIN
from vlm.schema.report_format import split_report

_NO_FINDING = FINDING_INDEX["No Finding"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedSentence:
    """`findings`: indices of those the sentence says are present or possible."""

    text: str
    section: str
    findings: tuple[int, ...]


def report_sentences(report: str) -> list[str]:
    """The sentences of both sections, in order, headings left out."""
    sections = split_report(report)
    return [sentence for text in (sections.findings, sections.impression) for sentence in split_sentences(text)]


def stated_sentences(report: str, label_report: Callable[[str], Sequence[int]]) -> list[StatedSentence]:
    """The report sentence by sentence, in order. No Finding belongs to a whole report and is never among them."""
    sections = split_report(report)
    return [
        StatedSentence(text=sentence, section=section, findings=stated_findings(label_report(sentence)))
        for section, text in (("Findings", sections.findings), ("Impression", sections.impression))
        for sentence in split_sentences(text)
    ]


def stated_findings(labels: Collection[int]) -> tuple[int, ...]:
    """Indices of the findings that labels call positive or uncertain, No Finding left out."""
    return tuple(index for index, label in enumerate(labels) if label in (POSITIVE, UNCERTAIN) and index != _NO_FINDING)
