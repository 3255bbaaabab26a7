"""Laterality: does a report put a finding on the correct side (left or right)? F1 of findings does not measure this.

Scored are findings that the reference puts on one side only and that the report states as well. A report that guesses
is reversed as often as it is correct.

Also the sentences of a report and the findings that each sentence states.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from data.reports.labeler.labeler import label_report
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
_SIDES = {
    "left": re.compile(r"\bleft(?:ward)?\b|\blingula", re.IGNORECASE),
    "right": re.compile(r"\bright(?:ward)?\b", re.IGNORECASE),
}
_BOTH = re.compile(r"\bbilateral(?:ly)?\b|\bboth\b|\bbibasilar\b|\bbibasal\b", re.IGNORECASE)


def stated_laterality(report: str) -> list[frozenset[str] | None]:
    """The sides named in the sentences that state each of the 14 findings; None if no sentence states it."""
    return _sides_of(stated_sentences(report))


_laterality = lru_cache(maxsize=MAX_REPORTS_KEPT)(stated_laterality)


def laterality_conflicts(report: str) -> tuple[int, ...]:
    """Indices of findings with opposite sides in the findings section and the impression."""
    sentences = stated_sentences(report)
    above, below = (
        _sides_of([sentence for sentence in sentences if sentence.section == section])
        for section in ("Findings", "Impression")
    )
    return tuple(
        finding
        for finding, (one, other) in enumerate(zip(above, below, strict=True))
        if one and other and len(one) == len(other) == 1 and one != other
    )


def _sides_of(sentences: Iterable[StatedSentence]) -> list[frozenset[str] | None]:
    sides: list[set[str] | None] = [None] * NUM_FINDINGS
    for sentence in sentences:
        is_both = _BOTH.search(sentence.text) is not None
        named = {side for side, pattern in _SIDES.items() if is_both or pattern.search(sentence.text)}
        for finding in sentence.findings:
            sides[finding] = (sides[finding] or set()) | named
    return [None if named is None else frozenset(named) for named in sides]


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
