"""The report as HTML: growing text while it is written, then one selectable sentence after another.

Selecting a sentence shows its heatmap on the images (see `page.cards.images`).
"""

from collections.abc import Sequence
from itertools import groupby

from data.reports.labeler.changes import report_changes
from page.cards.layout import render
from page.study.read import StudyReading
from vlm.schema.findings import FINDINGS
from vlm.schema.study_report import StudyReport

MAX_MAPPED = 40
"""Maximum number of sentences with a heatmap; a longer report is usually a repetition loop."""


def growing_report(report: StudyReport) -> str:
    """The two sections written so far, with a cursor at the end."""
    current = "Impression" if report.impression else "Findings"
    sections = [("Findings", _without_partial_heading(report.findings)), ("Impression", report.impression)]
    sections = [(title, text) for title, text in sections if text or title == current]
    return render("report", state="growing", sections=sections, current=current)


def finished_report(reading: StudyReading, warnings: Sequence[str], *, key: str) -> str:
    """Selectable sentences, and below them the warnings about the report."""
    numbered = groupby(enumerate(reading.sentences), key=lambda pair: pair[1].section)
    return render(
        "report",
        state="finished",
        key=key,
        reading=reading,
        sections=[(title, list(sentences)) for title, sentences in numbered],
        marks=_marks(reading),
        comparisons=_comparisons(reading),
        warnings=warnings,
        max_mapped=MAX_MAPPED,
    )


def _comparisons(reading: StudyReading) -> set[str]:
    """The sentences that mention the prior study or state a change since then; empty without a prior study."""
    texts = {sentence.text for sentence in reading.sentences} if reading.prior else set()
    return {text for text in texts if text in reading.prior_sentences or any(report_changes(text))}


def _marks(reading: StudyReading) -> dict[str, str]:
    """The problem of each sentence that has one."""
    marks = {}
    for sentence in reading.sentences:
        uncertain = [FINDINGS[index] for index in sentence.findings if reading.low_confidence[index]]
        if uncertain:
            marks[sentence.text] = f"low confidence: {', '.join(uncertain)}"
    for contradiction in reading.contradictions:
        marks[contradiction.stated] = marks[contradiction.denied] = f"contradicts itself: {contradiction.finding}"
    return marks | dict.fromkeys(reading.invented_sentences, "no prior study was given")


def _without_partial_heading(text: str) -> str:
    """Remove a last word that may become "Impression:", so that it does not flash at the end of the findings."""
    start, _, last = text.rpartition(" ")
    is_heading = bool(last) and any(heading.startswith(last) for heading in ("Findings", "Impression"))
    return start if is_heading else text
