"""The report as HTML: text with a cursor while it is written; then sentence by sentence, each to be chosen to see on
the images where it comes from (see `page.cards.images`).
"""

from collections.abc import Sequence
from html import escape

from page.study.read import Reading
from vlm.generator import StudyReport
from vlm.schema.findings import FINDINGS

EMPTY = (
    '<section class="card"><h2>Report</h2><p class="soft">Choose images and press “Write the report”, '
    "or click an example.</p></section>"
)
WITHHELD = (
    '<section class="card"><h2>Report</h2><p class="soft">Not written, because of the doubts above.</p></section>'
)
NONE_LEARNED = "This model only classifies: it has learned no reports, so it writes none. See its findings."
MAX_MAPPED = 40
"""Sentences that have a heatmap; more, and the model goes round in circles."""


def growing_report(written: StudyReport) -> str:
    """The two sections as far as they are written, with a cursor where the model is."""
    now_writing = "Impression" if written.impression else "Findings"
    body = "".join(
        f'<h3>{title}</h3><p class="text">{escape(_without_started_heading(text))}'
        f"{'<span class=cursor></span>' if title == now_writing else ''}</p>"
        for title, text in (("Findings", written.findings), ("Impression", written.impression))
        if text or title == now_writing
    )
    return _card(body, is_done=False)


def finished_report(reading: Reading, warnings: Sequence[str], *, key: str) -> str:
    """Sentences to choose from, and under them what is wrong with the report; `warnings` are its own faults."""
    if reading.only_classifies:
        return _card(f'<p class="soft">{NONE_LEARNED}</p>', is_done=True, key=key)
    if not reading.report.report.strip():
        return _card('<p class="warning">⚠ The model wrote nothing.</p>', is_done=True, key=key)
    body, section = "", ""
    marks = _marks(reading)
    for number, sentence in enumerate(reading.sentences):
        if sentence.section != section:
            body += f'{"</p>" if section else ""}<h3>{sentence.section}</h3><p class="text">'
            section = sentence.section
        mark = f' <span class="mark">⚠ {marks[sentence.text]}</span>' if sentence.text in marks else ""
        body += _sentence(number, sentence.text, mark) if number < MAX_MAPPED else escape(sentence.text) + mark
        body += " "
    body += "</p>" if section else f'<p class="text">{escape(reading.report.report)}</p>'
    if warnings:
        body += f'<ul class="warning">{"".join(f"<li>⚠ {escape(warning)}</li>" for warning in warnings)}</ul>'
    body += '<p class="soft">Choose a sentence to see what the model attended to while it wrote it.</p>'
    return _card(body, is_done=True, key=key)


def _sentence(number: int, text: str, mark: str) -> str:
    return (
        f'<label class="sentence"><input type="radio" name="heatmap" class="unseen" id="choose-sentence-{number}">'
        f"<span>{escape(text)}</span>{mark}</label>"
    )


def _marks(reading: Reading) -> dict[str, str]:
    """By sentence, what is wrong with it."""
    marks = {}
    for sentence in reading.sentences:
        unsure = [FINDINGS[index] for index in sentence.findings if reading.unsure[index]]
        if unsure:
            marks[sentence.text] = f"low confidence: {', '.join(unsure)}"
    for contradiction in reading.contradictions:
        marks[contradiction.stated] = marks[contradiction.denied] = f"contradicts itself: {contradiction.finding}"
    marks |= dict.fromkeys(reading.prior_sentences, "no prior study was given")
    return marks


def _card(body: str, *, is_done: bool, key: str = "") -> str:
    reading = f' data-reading="{key}"' if key else ""
    return (
        f'<section class="card" aria-busy="{"false" if is_done else "true"}"{reading}><h2>Report '
        f'<span class="badge">machine-written draft</span></h2><div aria-live="polite">{body}</div></section>'
    )


def _without_started_heading(text: str) -> str:
    """Without a last word that may become "Impression:": it would show at the end of the findings for a moment."""
    start, _, last = text.rpartition(" ")
    is_heading = bool(last) and any(heading.startswith(last) for heading in ("Findings", "Impression"))
    return start if is_heading else text
